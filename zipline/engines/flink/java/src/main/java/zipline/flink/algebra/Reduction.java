package zipline.flink.algebra;

import java.util.function.Supplier;
import org.apache.flink.table.data.ArrayData;

/** What is kept of a group-by that has no fixed size: an operation over the values of its columns. */
abstract class Reduction {
    static final String LATEST = "LATEST";

    abstract Ir empty();

    abstract void take(Ir ir, int weight, long t, long known, Object[] columns);

    /** An operation over a column of values or of lists, with a bucket ({@code bucket} below 0: without). */
    static Reduction of(String operation, int k, boolean isSigned, Type type, int column, Type bucketType, int bucket) {
        Type element = type.element();
        Supplier<Ir> empty = made(operation, k, isSigned, element);
        OfColumn inner = type.isList() ? new OfLists(empty, element, column) : new OfColumn(empty, element, column);
        return bucket < 0 ? inner : new OfBuckets(inner, Values.of(bucketType), bucket);
    }

    /** The latest row of a lookup. */
    static Reduction latest(boolean isSigned, Type[] types, int[] columns) {
        Values rows = Rows.whole(types, columns);
        return new OfRows(withoutInverse("LAST", 1, isSigned, rows), rows);
    }

    private static Supplier<Ir> made(String operation, int k, boolean isSigned, Type type) {
        Values values = Values.of(type);
        return switch (operation) {
            case "COUNT" -> Totals.Count::new;
            case "SUM", "AVERAGE" -> type.isInteger() ? Totals.OfIntegers::new : () -> new Totals.OfFloats(values);
            case "HISTOGRAM", "UNIQUE_COUNT" -> () -> new Counts.OfValues(values);
            case "APPROX_UNIQUE_COUNT" -> () -> new Sketches.Distinct(type);
            case "APPROX_PERCENTILE" -> () -> new Sketches.Quantiles(values);
            case "APPROX_HISTOGRAM_K" -> () -> Sketches.Frequent.of(type, values, k);
            default -> withoutInverse(operation, k, isSigned, values);
        };
    }

    private static Supplier<Ir> withoutInverse(String operation, int k, boolean isSigned, Values values) {
        if (isSigned) {
            return () -> new Counts.OfRows(values::write);
        }
        if (operation.equals("VARIANCE") || operation.equals("SKEW") || operation.equals("KURTOSIS")) {
            boolean isVariance = operation.equals("VARIANCE");
            return () -> new Totals.Spread(values, isVariance);
        }
        Ends.Form form = Ends.Form.of(operation, values, k);
        return () -> new Ends(form);
    }

    private static class OfColumn extends Reduction {
        final Supplier<Ir> empty;
        final Values values;
        final int column;

        OfColumn(Supplier<Ir> empty, Type type, int column) {
            this.empty = empty;
            this.values = Values.of(type);
            this.column = column;
        }

        @Override
        Ir empty() {
            return empty.get();
        }

        @Override
        void take(Ir ir, int weight, long t, long known, Object[] columns) {
            Object value = values.clean(columns[column]);
            if (value != null) {
                ir.take(weight, t, known, value);
            }
        }
    }

    private static final class OfLists extends OfColumn {
        private final ArrayData.ElementGetter getter;

        OfLists(Supplier<Ir> empty, Type type, int column) {
            super(empty, type, column);
            getter = ArrayData.createElementGetter(type.logical());
        }

        @Override
        void take(Ir ir, int weight, long t, long known, Object[] columns) {
            ArrayData list = (ArrayData) columns[column];
            for (int n = 0, size = list == null ? 0 : list.size(); n < size; n++) {
                Object value = values.clean(getter.getElementOrNull(list, n));
                if (value != null) {
                    ir.take(weight, t, known, value);
                }
            }
        }
    }

    private static final class OfBuckets extends Reduction {
        private final OfColumn inner;
        private final Values buckets;
        private final int bucket;

        OfBuckets(OfColumn inner, Values buckets, int bucket) {
            this.inner = inner;
            this.buckets = buckets;
            this.bucket = bucket;
        }

        @Override
        Ir empty() {
            return new Buckets(inner.empty);
        }

        @Override
        void take(Ir ir, int weight, long t, long known, Object[] columns) {
            Object found = buckets.clean(columns[bucket]);
            if (found == null || columns[inner.column] == null) {
                return;
            }
            Output out = new Output(16);
            buckets.write(out, found);
            Bytes key = out.value();
            Ir part = ((Buckets) ir).part(key);
            inner.take(part, weight, t, known, columns);
            ((Buckets) ir).settle(key, part);
        }
    }

    private static final class OfRows extends Reduction {
        private final Supplier<Ir> empty;
        private final Values rows;

        OfRows(Supplier<Ir> empty, Values rows) {
            this.empty = empty;
            this.rows = rows;
        }

        @Override
        Ir empty() {
            return empty.get();
        }

        @Override
        void take(Ir ir, int weight, long t, long known, Object[] columns) {
            ir.take(weight, t, known, rows.clean(columns));
        }
    }
}
