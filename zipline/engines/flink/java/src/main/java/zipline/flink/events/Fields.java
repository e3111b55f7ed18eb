package zipline.flink.events;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.flink.table.data.GenericRowData;

/** Reads an object with these fields. What is left out is null; of two fields of one name the last counts. */
final class Fields extends Value {
    /** What becomes of a field that is none of these: it is refused in the words for its place, or passed over. */
    enum Others {
        NO_COLUMN,
        NO_FIELD,
        ALLOWED
    }

    private final String[] labels;
    private final byte[][] names;
    private final Value[] values;
    private final int[] places;
    private final int width;
    private final Others others;
    private final boolean[] isRequired;
    private final boolean requires;
    private final int[] seenIn;
    private int turn;
    private Map<String, String> refused = Map.of();

    private Fields(String[] labels, Value[] values, boolean isNullable, Mode mode, int[] places, int width, Others others) {
        super("object", isNullable, mode);
        this.labels = labels;
        this.values = values;
        this.places = places;
        this.width = width;
        this.others = others;
        this.names = new byte[labels.length][];
        this.isRequired = new boolean[labels.length];
        this.seenIn = new int[labels.length];
        boolean some = false;
        for (int i = 0; i < labels.length; i++) {
            names[i] = labels[i].getBytes(UTF_8);
            isRequired[i] = !values[i].isNullable;
            some |= isRequired[i];
        }
        this.requires = some;
    }

    /** Those of a struct, in their order. */
    static Fields struct(List<String> labels, List<Portable> types, boolean isNullable, Mode mode) {
        Value[] values = types.stream().map(type -> of(type, true, mode)).toArray(Value[]::new);
        return new Fields(labels.toArray(new String[0]), values, isNullable, mode, upTo(values.length), values.length, Others.NO_FIELD);
    }

    /** These among others, in their order. */
    static Fields among(boolean isNullable, List<String> labels, Value... values) {
        return new Fields(
                labels.toArray(new String[0]), values, isNullable, Mode.BUILDS, upTo(values.length), values.length, Others.ALLOWED);
    }

    /**
     * The columns of a table. {@code places} says where each stands in a row of {@code width}, or -1: then it is
     * checked only. {@code refused} says of columns that are no part of an event why.
     */
    static Fields columns(
            List<String> labels,
            List<Portable> types,
            Set<String> required,
            Map<String, String> refused,
            Mode mode,
            int[] places,
            int width) {
        Value[] values = new Value[labels.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = of(types.get(i), !required.contains(labels.get(i)), places[i] < 0 ? Mode.CHECKS : mode);
        }
        Fields found = new Fields(labels.toArray(new String[0]), values, false, mode, places, width, Others.NO_COLUMN);
        found.refused = refused;
        return found;
    }

    static int[] upTo(int count) {
        int[] places = new int[count];
        Arrays.setAll(places, i -> i);
        return places;
    }

    @Override
    Object object(Text text) throws Refused {
        text.at++;
        GenericRowData row = builds() ? new GenericRowData(width) : null;
        if (requires) {
            turn++;
        }
        int guess = 0;
        for (boolean isFirst = true; text.next(isFirst, '}'); isFirst = false) {
            int field = field(text, guess);
            text.colon();
            if (field < 0) {
                other(text);
                continue;
            }
            guess = field + 1;
            Object value;
            try {
                value = values[field].read(text);
            } catch (Refused refused) {
                throw refused.within("." + labels[field]);
            }
            if (row != null && places[field] >= 0) {
                row.setField(places[field], value);
            }
            if (requires) {
                seenIn[field] = turn;
            }
        }
        if (requires) {
            checkRequired();
        }
        return row;
    }

    private void checkRequired() throws Refused {
        for (int i = 0; i < labels.length; i++) {
            if (isRequired[i] && seenIn[i] != turn) {
                throw new Refused("is missing: it says when the event happened, or which way a change goes")
                        .within("." + labels[i]);
            }
        }
    }

    /** The field whose name comes next, most often the one behind the last; -1 where it is none of these. */
    private int field(Text text, int guess) throws Refused {
        if (text.peek() == '"' && guess < names.length && text.isName(names[guess])) {
            return guess;
        }
        text.name();
        int length = text.to - text.from;
        for (int i = 0; i < names.length; i++) {
            byte[] name = names[i];
            if (name.length == length && Arrays.equals(name, 0, length, text.chars, text.from, text.to)) {
                return i;
            }
        }
        return -1;
    }

    private void other(Text text) throws Refused {
        if (others == Others.ALLOWED) {
            text.skip();
            return;
        }
        text.unicode();
        String name = text.shown();
        String reason = others == Others.NO_FIELD
                ? "there is no such field"
                : refused.getOrDefault(name, "the table has no such column");
        throw new Refused(reason).within("." + name);
    }
}
