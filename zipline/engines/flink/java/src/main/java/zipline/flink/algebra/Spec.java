package zipline.flink.algebra;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * What is kept of a group-by, from the text that {@code zipline/engines/flink/partials.py} writes: the columns, the states
 * of a record in their order, the reductions in theirs. Equal texts give one object.
 */
final class Spec {
    static final int START = 0;
    static final int WIDTH = 1;
    static final int EVENTS = 2;
    private static final int FIRST_STATE = 3;
    private static final Map<String, Spec> KNOWN = new ConcurrentHashMap<>();

    final String text;
    final long width;
    final int words;
    /** The word that counts all rows, those taken back too, or 0 where there is none. */
    final int rows;
    final Words[] states;
    final Reduction[] reductions;

    private Spec(String text) {
        Map<?, ?> found = parsed(text);
        this.text = text;
        width = ((Number) found.get("width")).longValue();
        Type[] types = list(found, "columns").stream().map(each -> Type.of((String) each)).toArray(Type[]::new);
        List<?> wanted = list(found, "states");
        words = FIRST_STATE + wanted.stream().mapToInt(each -> Words.SIZES[kind(each)]).sum();
        rows = !wanted.isEmpty() && column(wanted.get(0)) == null ? FIRST_STATE : 0;
        states = states(wanted, types);
        boolean isSigned = (Boolean) found.get("signed");
        reductions = list(found, "irs").stream()
                .map(each -> reduction((Map<?, ?>) each, types, isSigned))
                .toArray(Reduction[]::new);
    }

    static Spec of(String text) {
        return KNOWN.computeIfAbsent(text, Spec::new);
    }

    /** By column, in the order of their counts. */
    private static Words[] states(List<?> wanted, Type[] types) {
        List<Words> found = new ArrayList<>();
        for (int n = 0; n < wanted.size() && kind(wanted.get(n)) == Words.COUNT; n++) {
            Integer column = column(wanted.get(n));
            if (column == null) {
                continue;
            }
            List<Integer> kinds = new ArrayList<>();
            List<Integer> places = new ArrayList<>();
            int at = FIRST_STATE;
            for (Object each : wanted) {
                if (kind(each) != Words.COUNT && column.equals(column(each))) {
                    kinds.add(kind(each));
                    places.add(at);
                }
                at += Words.SIZES[kind(each)];
            }
            found.add(new Words(column, types[column], FIRST_STATE + n, ints(kinds), ints(places)));
        }
        return found.toArray(new Words[0]);
    }

    private static Reduction reduction(Map<?, ?> wanted, Type[] types, boolean isSigned) {
        String operation = (String) wanted.get("operation");
        int[] columns = ints(list(wanted, "columns"));
        if (operation.equals(Reduction.LATEST)) {
            Type[] row = new Type[columns.length];
            for (int n = 0; n < row.length; n++) {
                row[n] = types[columns[n]];
            }
            return Reduction.latest(isSigned, row, columns);
        }
        int k = wanted.get("k") == null ? 0 : integer(wanted, "k");
        int input = columns[columns.length - 1];
        int bucket = (Boolean) wanted.get("bucket") ? columns[0] : -1;
        return Reduction.of(operation, k, isSigned, types[input], input, bucket < 0 ? null : types[bucket], bucket);
    }

    private static int kind(Object state) {
        return Words.kind((String) ((Map<?, ?>) state).get("kind"));
    }

    /** Null of the count of all rows, which stands before all others. */
    private static Integer column(Object state) {
        var column = (Number) ((Map<?, ?>) state).get("column");
        return column == null ? null : column.intValue();
    }

    private static int integer(Map<?, ?> from, String name) {
        return ((Number) from.get(name)).intValue();
    }

    private static List<?> list(Map<?, ?> from, String name) {
        return (List<?>) from.get(name);
    }

    private static int[] ints(List<?> numbers) {
        return numbers.stream().mapToInt(each -> ((Number) each).intValue()).toArray();
    }

    /** Of JSON an object: maps, lists, texts, Longs, Doubles, Booleans and null. */
    static Map<?, ?> parsed(String text) {
        try (JsonParser parser = new JsonFactory().createParser(text)) {
            return (Map<?, ?>) value(parser, parser.nextToken());
        } catch (IOException damaged) {
            throw new UncheckedIOException(damaged);
        }
    }

    private static Object value(JsonParser parser, JsonToken token) throws IOException {
        return switch (token) {
            case START_OBJECT -> {
                Map<String, Object> found = new LinkedHashMap<>();
                while (parser.nextToken() != JsonToken.END_OBJECT) {
                    String name = parser.currentName();
                    found.put(name, value(parser, parser.nextToken()));
                }
                yield found;
            }
            case START_ARRAY -> {
                List<Object> found = new ArrayList<>();
                for (JsonToken next = parser.nextToken(); next != JsonToken.END_ARRAY; next = parser.nextToken()) {
                    found.add(value(parser, next));
                }
                yield found;
            }
            case VALUE_NUMBER_INT -> parser.getLongValue();
            case VALUE_NUMBER_FLOAT -> parser.getDoubleValue();
            case VALUE_TRUE, VALUE_FALSE -> parser.getBooleanValue();
            case VALUE_NULL -> null;
            default -> parser.getText();
        };
    }
}
