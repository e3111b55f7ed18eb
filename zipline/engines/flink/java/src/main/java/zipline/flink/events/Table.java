package zipline.flink.events;

import java.io.Serializable;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;

/**
 * What the messages are events of: the columns of the table with their types, those that may not be null, and of columns
 * that are no part of an event the words in which they are refused.
 */
record Table(List<String> names, List<Portable> types, Set<String> required, Map<String, String> refused)
        implements Serializable {

    Table(List<String> names, List<Portable> types, Set<String> required, String partition) {
        this(
                names,
                types,
                required,
                partition == null
                        ? Map.of()
                        : Map.of(partition, "is not part of an event: it is the day on which the event happened"));
    }

    /** The table of rows of which these columns are said beside them: they must not stand in a row. */
    Table without(Set<String> said) {
        List<Integer> kept = IntStream.range(0, names.size())
                .filter(i -> !said.contains(names.get(i)))
                .boxed()
                .toList();
        Set<String> asked = new HashSet<>(required);
        asked.removeAll(said);
        Map<String, String> words = new HashMap<>(refused);
        said.forEach(name -> words.put(name, "is not part of a row: the envelope says it"));
        return new Table(
                kept.stream().map(names::get).toList(),
                kept.stream().map(types::get).toList(),
                Set.copyOf(asked),
                Map.copyOf(words));
    }
}
