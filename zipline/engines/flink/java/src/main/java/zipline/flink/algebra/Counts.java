package zipline.flink.algebra;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.function.ObjLongConsumer;

/** How often each value occurs, signed and without zeros; values are known by what the codec writes of them. */
final class Counts {
    private final Map<Bytes, long[]> counts = new HashMap<>();

    void change(Bytes value, long by) {
        long[] count = counts.get(value);
        if (count == null) {
            counts.put(value, new long[] {by});
        } else if ((count[0] += by) == 0) {
            counts.remove(value);
        }
    }

    void merge(Counts other) {
        other.counts.forEach((value, count) -> change(value, count[0]));
    }

    int size() {
        return counts.size();
    }

    /** Of all values, missing ones counted too. */
    long total() {
        long total = 0;
        for (long[] count : counts.values()) {
            total += Math.abs(count[0]);
        }
        return total;
    }

    /** By the bytes of the values, where that is asked. */
    void write(Output out, boolean isOrdered) {
        Bytes[] values = counts.keySet().toArray(new Bytes[0]);
        if (isOrdered) {
            Arrays.sort(values);
        }
        out.dict(values.length);
        for (Bytes value : values) {
            out.put(value.content());
            out.integer(counts.get(value)[0]);
        }
    }

    void read(Input in) {
        for (int left = in.dict(); left > 0; left--) {
            Bytes value = in.whole();
            counts.put(value, new long[] {in.integer()});
        }
    }

    void each(ObjLongConsumer<Bytes> visit) {
        counts.forEach((value, count) -> visit.accept(value, count[0]));
    }

    Counts copied() {
        Counts made = new Counts();
        counts.forEach((value, count) -> made.counts.put(value, count.clone()));
        return made;
    }

    /** HISTOGRAM and UNIQUE_COUNT. */
    static final class OfValues extends Ir {
        private final Values values;
        private final Counts counts;

        OfValues(Values values) {
            this(values, new Counts());
        }

        private OfValues(Values values, Counts counts) {
            this.values = values;
            this.counts = counts;
        }

        @Override
        void take(int weight, long t, long known, Object value) {
            Output out = new Output(16);
            values.write(out, value);
            counts.change(out.value(), weight);
        }

        @Override
        void merge(Ir other) {
            counts.merge(((OfValues) other).counts);
        }

        @Override
        boolean isEmpty() {
            return counts.size() == 0;
        }

        @Override
        void write(Output out, boolean stored) {
            counts.write(out, stored);
        }

        @Override
        void read(Input in) {
            counts.read(in);
        }

        @Override
        Ir copied() {
            return new OfValues(values, counts.copied());
        }
    }

    /**
     * The signed multiset of (t, known, value) of operations without an inverse, and of lookups, whose value is the row. Of
     * more rows than {@code LARGEST} nothing but their number is stored.
     */
    static final class OfRows extends Ir {
        static final int LARGEST = 100_000;
        private final Form form;
        private final Counts counts;

        /** How the value of a row is written. */
        interface Form {
            void write(Output out, Object value);
        }

        OfRows(Form form) {
            this(form, new Counts());
        }

        private OfRows(Form form, Counts counts) {
            this.form = form;
            this.counts = counts;
        }

        @Override
        void take(int weight, long t, long known, Object value) {
            Output out = new Output(48);
            out.tuple(3);
            out.integer(t);
            out.integer(known);
            form.write(out, value);
            counts.change(out.value(), weight);
        }

        @Override
        void merge(Ir other) {
            counts.merge(((OfRows) other).counts);
        }

        @Override
        boolean isEmpty() {
            return counts.size() == 0;
        }

        @Override
        void write(Output out, boolean stored) {
            long rows = stored ? counts.total() : 0;
            if (rows <= LARGEST) {
                counts.write(out, stored);
            } else {
                out.dict(1);
                out.tuple(0);
                out.integer(rows);
            }
        }

        @Override
        void read(Input in) {
            counts.read(in);
        }

        @Override
        Ir copied() {
            return new OfRows(form, counts.copied());
        }
    }
}
