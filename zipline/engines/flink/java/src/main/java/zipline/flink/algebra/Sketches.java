package zipline.flink.algebra;

import java.math.BigDecimal;
import java.util.Arrays;
import java.util.function.Function;
import org.apache.datasketches.common.ArrayOfDoublesSerDe;
import org.apache.datasketches.common.ArrayOfItemsSerDe;
import org.apache.datasketches.common.ArrayOfLongsSerDe;
import org.apache.datasketches.common.ArrayOfStringsSerDe;
import org.apache.datasketches.frequencies.ItemsSketch;
import org.apache.datasketches.hll.HllSketch;
import org.apache.datasketches.hll.TgtHllType;
import org.apache.datasketches.hll.Union;
import org.apache.datasketches.kll.KllDoublesSketch;
import org.apache.datasketches.memory.Memory;

/** The approximate operations, on the sketches, sizes and images of values of {@code zipline/algebra/sketches.py}. */
final class Sketches {
    private static final int DISTINCT = 1;
    private static final int QUANTILES = 2;
    private static final int FREQUENT = 3;
    private static final int LG_REGISTERS = 13;
    private static final int EXACT_VALUES = 400;

    private Sketches() {}

    /** APPROX_UNIQUE_COUNT: a HyperLogLog sketch. */
    static final class Distinct extends Ir {
        private static final long EMPTY_TEXT = -1;
        private final Type type;
        private HllSketch sketch = new HllSketch(LG_REGISTERS, TgtHllType.HLL_6);

        Distinct(Type type) {
            this.type = type;
        }

        @Override
        void take(int weight, long t, long known, Object value) {
            switch (type.name()) {
                case "STRING" -> add((Bytes) value, false);
                case "BINARY" -> add((Bytes) value, true);
                case "DECIMAL" -> sketch.update(((BigDecimal) value).stripTrailingZeros().toString());
                case "FLOAT", "DOUBLE" -> sketch.update((double) (Double) value);
                default -> sketch.update((long) (Long) value);
            }
        }

        private void add(Bytes value, boolean isBinary) {
            if (value.content().length == 0) {
                sketch.update(EMPTY_TEXT);
            } else if (isBinary) {
                sketch.update(value.latin());
            } else {
                sketch.update(value.content());
            }
        }

        @Override
        void merge(Ir other) {
            Union union = new Union(LG_REGISTERS);
            union.update(sketch);
            union.update(((Distinct) other).sketch);
            sketch = union.getResult(TgtHllType.HLL_6);
        }

        @Override
        boolean isEmpty() {
            return sketch.isEmpty();
        }

        @Override
        void write(Output out, boolean stored) {
            out.sketch(DISTINCT, sketch.toCompactByteArray());
        }

        @Override
        void read(Input in) {
            sketch = HllSketch.heapify(in.sketch(DISTINCT));
        }

        @Override
        Ir copied() {
            Distinct made = new Distinct(type);
            made.sketch = sketch.copy();
            return made;
        }
    }

    /** APPROX_PERCENTILE: the values while they are few, else a KLL sketch of them. */
    static final class Quantiles extends Ir {
        private final Values values;
        private double[] few = {};
        private int size;
        private KllDoublesSketch sketch;

        Quantiles(Values values) {
            this.values = values;
        }

        @Override
        void take(int weight, long t, long known, Object value) {
            take(values.number(value));
        }

        private void take(double number) {
            if (sketch == null && size == EXACT_VALUES) {
                overflow();
            }
            if (sketch != null) {
                sketch.update(number);
                return;
            }
            if (size == few.length) {
                few = Arrays.copyOf(few, Math.min(EXACT_VALUES, Math.max(8, 2 * size)));
            }
            few[size++] = number;
        }

        private void overflow() {
            sketch = KllDoublesSketch.newHeapInstance(EXACT_VALUES);
            for (int n = 0; n < size; n++) {
                sketch.update(few[n]);
            }
            few = new double[0];
            size = 0;
        }

        @Override
        void merge(Ir other) {
            Quantiles more = (Quantiles) other;
            if (more.sketch != null) {
                if (sketch == null) {
                    overflow();
                }
                sketch.merge(more.sketch);
            }
            for (int n = 0; n < more.size; n++) {
                take(more.few[n]);
            }
        }

        @Override
        boolean isEmpty() {
            return size == 0 && sketch == null;
        }

        @Override
        void write(Output out, boolean stored) {
            if (sketch != null) {
                out.sketch(QUANTILES, sketch.toByteArray());
                return;
            }
            if (stored) { // a snapshot is written beside the task, which may copy them
                Arrays.sort(few, 0, size);
            }
            out.tuple(size);
            for (int n = 0; n < size; n++) {
                out.number(few[n]);
            }
        }

        @Override
        void read(Input in) {
            if (in.tag() == Codec.SKETCH) {
                sketch = KllDoublesSketch.heapify(Memory.wrap(in.sketch(QUANTILES)));
                return;
            }
            size = in.tuple();
            few = new double[size];
            for (int n = 0; n < size; n++) {
                few[n] = in.number();
            }
        }

        @Override
        Ir copied() {
            Quantiles made = new Quantiles(values);
            made.few = few.clone();
            made.size = size;
            made.sketch = sketch == null ? null : KllDoublesSketch.heapify(Memory.wrap(sketch.toByteArray()));
            return made;
        }
    }

    /** APPROX_HISTOGRAM_K: the counts of the values while these are few, else a sketch of the frequent ones. */
    static final class Frequent<T> extends Ir {
        /** What the sketch holds in place of values, and how it is written. */
        private record Items<T>(int code, Function<Object, T> of, ArrayOfItemsSerDe<T> written) {}

        private final Values values;
        private final Items<T> items;
        private final int mapSize;
        private Counts counts = new Counts();
        private ItemsSketch<T> sketch;

        private Frequent(Values values, Items<T> items, int mapSize) {
            this.values = values;
            this.items = items;
            this.mapSize = mapSize;
        }

        static Frequent<?> of(Type type, Values values, int k) {
            int size = 1 << Math.max(10, Integer.SIZE - Integer.numberOfLeadingZeros(16 * k - 1));
            return switch (type.name()) {
                case "STRING" -> ofTexts(values, value -> ((Bytes) value).text(), size);
                case "BINARY" -> ofTexts(values, value -> ((Bytes) value).latin(), size);
                case "DECIMAL" -> ofTexts(values, Object::toString, size);
                case "FLOAT", "DOUBLE" -> new Frequent<>(
                        values, new Items<>(1, value -> (Double) value, new ArrayOfDoublesSerDe()), size);
                case "DATE" -> ofLongs(values, value -> (Long) value + Values.FIRST_DAY, size);
                default -> ofLongs(values, value -> (Long) value, size);
            };
        }

        private static Frequent<Long> ofLongs(Values values, Function<Object, Long> item, int size) {
            return new Frequent<>(values, new Items<>(0, item, new ArrayOfLongsSerDe()), size);
        }

        private static Frequent<String> ofTexts(Values values, Function<Object, String> item, int size) {
            return new Frequent<>(values, new Items<>(2, item, new ArrayOfStringsSerDe()), size);
        }

        @Override
        void take(int weight, long t, long known, Object value) {
            if (sketch != null) {
                sketch.update(items.of.apply(value));
                return;
            }
            Output out = new Output(16);
            values.write(out, value);
            counts.change(out.value(), 1);
            bound();
        }

        private void bound() {
            if (counts.size() > 3 * mapSize / 4) {
                sketch = new ItemsSketch<>(mapSize);
                count(counts);
                counts = new Counts();
            }
        }

        private void count(Counts more) {
            more.each((value, count) -> sketch.update(items.of.apply(values.read(new Input(value.content()))), count));
        }

        @Override
        void merge(Ir other) {
            Frequent<T> more = same(other);
            if (sketch == null && more.sketch == null) {
                counts.merge(more.counts);
                bound();
                return;
            }
            if (sketch == null) {
                sketch = new ItemsSketch<>(mapSize);
                count(counts);
                counts = new Counts();
            }
            count(more.counts);
            if (more.sketch != null) {
                sketch.merge(more.sketch);
            }
        }

        @SuppressWarnings("unchecked")
        private Frequent<T> same(Ir other) {
            return (Frequent<T>) other;
        }

        @Override
        boolean isEmpty() {
            return sketch == null && counts.size() == 0;
        }

        @Override
        void write(Output out, boolean stored) {
            if (sketch == null) {
                counts.write(out, stored);
                return;
            }
            byte[] image = sketch.toByteArray(items.written);
            byte[] payload = new byte[1 + image.length];
            payload[0] = (byte) items.code;
            System.arraycopy(image, 0, payload, 1, image.length);
            out.sketch(FREQUENT, payload);
        }

        @Override
        void read(Input in) {
            if (in.tag() != Codec.SKETCH) {
                counts.read(in);
                return;
            }
            byte[] payload = in.sketch(FREQUENT);
            sketch = sketched(Arrays.copyOfRange(payload, 1, payload.length));
        }

        private ItemsSketch<T> sketched(byte[] image) {
            return ItemsSketch.getInstance(Memory.wrap(image), items.written);
        }

        @Override
        Ir copied() {
            Frequent<T> made = new Frequent<>(values, items, mapSize);
            made.counts = counts.copied();
            made.sketch = sketch == null ? null : sketched(sketch.toByteArray(items.written));
            return made;
        }
    }
}
