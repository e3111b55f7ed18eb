package zipline.flink.algebra;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.IntUnaryOperator;
import org.apache.flink.table.data.ArrayData;
import org.apache.flink.table.data.MapData;
import org.apache.flink.table.data.RowData;

/**
 * Nested values in the form of {@code zipline/algebra/rows.py}: null is the empty tuple, a value the tuple of one, which is
 * for lists the tuple of their elements, for maps of their pairs, for structs of their fields.
 */
abstract class Rows {
    static Rows of(Type type) {
        return switch (type.name()) {
            case "ARRAY" -> new OfLists(type.parts().get(0));
            case "MAP" -> new OfMaps(type.parts().get(0), type.parts().get(1));
            case "STRUCT" -> new OfStructs(type.parts());
            default -> new OfScalars(Values.of(type));
        };
    }

    /** Rows as values, each {@link Bytes} of the forms of some {@code columns}: from all of an event's, in an array. */
    static Values whole(Type[] types, int[] columns) {
        Rows[] forms = new Rows[types.length];
        for (int n = 0; n < forms.length; n++) {
            forms[n] = Rows.of(types[n]);
        }
        return new Whole(forms, columns);
    }

    /** Writes the form of a value, or of null. */
    final void write(Output out, Object raw) {
        Object found = raw == null ? null : converted(raw);
        if (found == null) {
            out.tuple(0);
        } else {
            out.tuple(1);
            writeValue(out, found);
        }
    }

    /** What is written of it; null where it is null at the door. */
    Object converted(Object raw) {
        return raw;
    }

    abstract void writeValue(Output out, Object value);

    /** The order of two forms as they were written; where it is not 0 they are read in part only. */
    final int compare(Input a, Input b) {
        int here = a.tuple();
        int there = b.tuple();
        return here == 0 || there == 0 ? here - there : compareValues(a, b);
    }

    abstract int compareValues(Input a, Input b);

    /** The order of two tuples: that of their parts, each compared in turn, then of their lengths. */
    private static int compareParts(Input a, Input b, IntUnaryOperator compared) {
        int here = a.tuple();
        int there = b.tuple();
        for (int n = 0; n < Math.min(here, there); n++) {
            int order = compared.applyAsInt(n);
            if (order != 0) {
                return order;
            }
        }
        return here - there;
    }

    private static final class OfScalars extends Rows {
        private final Values values;

        OfScalars(Values values) {
            this.values = values;
        }

        @Override
        Object converted(Object raw) {
            return values.clean(raw);
        }

        @Override
        void writeValue(Output out, Object value) {
            values.write(out, value);
        }

        @Override
        int compareValues(Input a, Input b) {
            return values.compare(values.read(a), values.read(b));
        }
    }

    private static final class OfLists extends Rows {
        private final Rows element;
        private final ArrayData.ElementGetter getter;

        OfLists(Type type) {
            element = Rows.of(type);
            getter = ArrayData.createElementGetter(type.logical());
        }

        @Override
        void writeValue(Output out, Object value) {
            ArrayData list = (ArrayData) value;
            out.tuple(list.size());
            for (int n = 0; n < list.size(); n++) {
                element.write(out, getter.getElementOrNull(list, n));
            }
        }

        @Override
        int compareValues(Input a, Input b) {
            return compareParts(a, b, n -> element.compare(a, b));
        }
    }

    /** Pairs in the map's own order; of equal keys there is the first, with the last's value. */
    private static final class OfMaps extends Rows {
        private final Rows key;
        private final Rows item;
        private final ArrayData.ElementGetter keys;
        private final ArrayData.ElementGetter items;

        OfMaps(Type keyType, Type itemType) {
            key = Rows.of(keyType);
            item = Rows.of(itemType);
            keys = ArrayData.createElementGetter(keyType.logical());
            items = ArrayData.createElementGetter(itemType.logical());
        }

        @Override
        void writeValue(Output out, Object value) {
            MapData map = (MapData) value;
            ArrayData from = map.keyArray();
            Map<Bytes, Integer> last = new HashMap<>();
            Bytes[] written = new Bytes[from.size()];
            for (int n = 0; n < written.length; n++) {
                Output own = new Output(16);
                key.write(own, keys.getElementOrNull(from, n));
                written[n] = own.value();
                last.put(written[n], n);
            }
            out.tuple(last.size());
            ArrayData to = map.valueArray();
            for (Bytes each : written) {
                Integer place = last.remove(each);
                if (place != null) {
                    out.tuple(2);
                    out.put(each.content());
                    item.write(out, items.getElementOrNull(to, place));
                }
            }
        }

        @Override
        int compareValues(Input a, Input b) {
            return compareParts(a, b, n -> compareParts(a, b, part -> (part == 0 ? key : item).compare(a, b)));
        }
    }

    private static final class OfStructs extends Rows {
        private final Rows[] fields;
        private final RowData.FieldGetter[] getters;

        OfStructs(List<Type> types) {
            fields = new Rows[types.size()];
            getters = new RowData.FieldGetter[types.size()];
            for (int n = 0; n < fields.length; n++) {
                fields[n] = Rows.of(types.get(n));
                getters[n] = RowData.createFieldGetter(types.get(n).logical(), n);
            }
        }

        @Override
        void writeValue(Output out, Object value) {
            out.tuple(fields.length);
            for (int n = 0; n < fields.length; n++) {
                fields[n].write(out, getters[n].getFieldOrNull((RowData) value));
            }
        }

        @Override
        int compareValues(Input a, Input b) {
            return compareParts(a, b, n -> fields[n].compare(a, b));
        }
    }

    private static final class Whole extends Values {
        private final Rows[] forms;
        private final int[] columns;

        Whole(Rows[] forms, int[] columns) {
            this.forms = forms;
            this.columns = columns;
        }

        @Override
        Object clean(Object raw) {
            Object[] event = (Object[]) raw;
            Output out = new Output(48);
            out.tuple(forms.length);
            for (int n = 0; n < forms.length; n++) {
                forms[n].write(out, event[columns[n]]);
            }
            return out.value();
        }

        @Override
        int compare(Object a, Object b) {
            Input here = new Input(((Bytes) a).content());
            Input there = new Input(((Bytes) b).content());
            return compareParts(here, there, n -> forms[n].compare(here, there));
        }

        @Override
        void write(Output out, Object clean) {
            out.put(((Bytes) clean).content());
        }

        @Override
        Object read(Input in) {
            return in.whole();
        }
    }
}
