package zipline.flink.algebra;

import org.apache.flink.table.data.ArrayData;

/** The states over one column: where their words are, and how these take a value. Nothing is allocated. */
final class Words {
    static final int COUNT = 0;
    static final int INTEGERS = 1;
    static final int FLOATS = 2;
    static final int LEAST = 3;
    static final int MOST = 4;
    static final int FIRST = 5;
    static final int LAST = 6;
    static final int MOMENTS = 7;
    /** Of each kind how many words it takes. */
    static final int[] SIZES = {1, 2, 4, 1, 1, 3, 3, Moments.WORDS};

    private static final long LOW = 0xFFFF_FFFFL;

    private final int column;
    private final Values values;
    private final boolean isList;
    private final boolean isFloat;
    private final int count;
    private final int[] kinds;
    private final int[] places;

    /** The count of the column's values stands at {@code count}, each other state at its place. */
    Words(int column, Type type, int count, int[] kinds, int[] places) {
        this.column = column;
        this.values = Values.of(type.element());
        this.isList = type.isList();
        this.isFloat = values.isFloat();
        this.count = count;
        this.kinds = kinds;
        this.places = places;
    }

    static int kind(String name) {
        return switch (name) {
            case "count" -> COUNT;
            case "integers" -> INTEGERS;
            case "floats" -> FLOATS;
            case "least" -> LEAST;
            case "most" -> MOST;
            case "first" -> FIRST;
            case "last" -> LAST;
            case "moments" -> MOMENTS;
            default -> throw new IllegalArgumentException(name + " is not a kind of state");
        };
    }

    void take(long[] words, int weight, long t, long known, Object[] columns) {
        Object raw = columns[column];
        if (raw == null) {
            return;
        }
        if (!isList) {
            if (!values.isAbsent(raw)) {
                add(words, weight, t, known, values.word(raw));
            }
            return;
        }
        ArrayData list = (ArrayData) raw;
        for (int n = 0, size = list.size(); n < size; n++) {
            if (!list.isNullAt(n) && !values.isAbsent(list, n)) {
                add(words, weight, t, known, values.word(list, n));
            }
        }
    }

    private void add(long[] words, int weight, long t, long known, long value) {
        boolean isFirst = words[count] == 0;
        words[count] += weight;
        for (int n = 0; n < kinds.length; n++) {
            int at = places[n];
            switch (kinds[n]) {
                case INTEGERS -> {
                    words[at] += weight * (value & LOW);
                    words[at + 1] += weight * (value >> 32);
                }
                case FLOATS -> addFloat(words, at, Double.longBitsToDouble(value));
                case LEAST -> words[at] = isFirst || precedes(value, words[at]) ? value : words[at];
                case MOST -> words[at] = isFirst || precedes(words[at], value) ? value : words[at];
                case FIRST, LAST -> {
                    if (isFirst || order(words, at, t, known, value) > 0 == (kinds[n] == LAST)) {
                        words[at] = t;
                        words[at + 1] = known;
                        words[at + 2] = value;
                    }
                }
                default -> Moments.add(words, at, isFloat ? Double.longBitsToDouble(value) : (double) value);
            }
        }
    }

    /** Adds the states of other words, of which the same column is the input. */
    void merge(long[] words, long[] from) {
        boolean isFirst = words[count] == 0;
        boolean isNone = from[count] == 0;
        words[count] += from[count];
        for (int n = 0; n < kinds.length; n++) {
            int at = places[n];
            switch (kinds[n]) {
                case INTEGERS -> {
                    words[at] += from[at];
                    words[at + 1] += from[at + 1];
                }
                case FLOATS -> {
                    addFinite(words, at, Double.longBitsToDouble(from[at]));
                    addFinite(words, at, Double.longBitsToDouble(from[at + 1]));
                    words[at + 2] += from[at + 2];
                    words[at + 3] += from[at + 3];
                }
                case MOMENTS -> Moments.merge(words, at, from, at);
                default -> {
                    if (!isNone && (isFirst || isBetter(kinds[n], words, from, at))) {
                        System.arraycopy(from, at, words, at, SIZES[kinds[n]]);
                    }
                }
            }
        }
    }

    private boolean isBetter(int kind, long[] words, long[] from, int at) {
        return switch (kind) {
            case LEAST -> precedes(from[at], words[at]);
            case MOST -> precedes(words[at], from[at]);
            default -> order(words, at, from[at], from[at + 1], from[at + 2]) > 0 == (kind == LAST);
        };
    }

    /** Above 0 where the event comes after the one of the words, else below. */
    private int order(long[] words, int at, long t, long known, long value) {
        int order = Long.compare(t, words[at]);
        order = order == 0 ? Long.compare(known, words[at + 1]) : order;
        return order == 0 ? (precedes(words[at + 2], value) ? 1 : -1) : order;
    }

    private boolean precedes(long a, long b) {
        return isFloat ? Double.longBitsToDouble(a) < Double.longBitsToDouble(b) : a < b;
    }

    private static void addFloat(long[] words, int at, double value) {
        if (Double.isInfinite(value)) {
            words[value > 0 ? at + 2 : at + 3]++;
        } else {
            addFinite(words, at, value);
        }
    }

    private static void addFinite(long[] words, int at, double value) {
        double total = Double.longBitsToDouble(words[at]);
        double sum = total + value;
        double back = sum - total;
        double low = Double.longBitsToDouble(words[at + 1]) + ((total - (sum - back)) + (value - back));
        double high = sum + low;
        words[at] = Double.doubleToRawLongBits(high);
        words[at + 1] = Double.doubleToRawLongBits(low - (high - sum));
    }
}
