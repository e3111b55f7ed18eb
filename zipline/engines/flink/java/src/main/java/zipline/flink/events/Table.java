package zipline.flink.events;

import java.io.Serializable;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;

/**
 * What the messages are events of: all columns of the table with their types, those that may not be null, the one that
 * is no part of an event (or null), and of changes the two that the envelope fills (or null).
 */
record Table(
        List<String> names,
        List<Portable> types,
        Set<String> required,
        String partition,
        String time,
        String before)
        implements Serializable {

    boolean isOfChanges() {
        return time != null;
    }

    /** The table without the columns that the envelope fills: they must not stand in a row. */
    Table ofRows() {
        List<Integer> kept = IntStream.range(0, names.size())
                .filter(i -> !names.get(i).equals(time) && !names.get(i).equals(before))
                .boxed()
                .toList();
        Set<String> asked = new HashSet<>(required);
        asked.remove(time);
        asked.remove(before);
        return new Table(
                kept.stream().map(names::get).toList(),
                kept.stream().map(types::get).toList(),
                Set.copyOf(asked),
                partition,
                null,
                null);
    }
}
