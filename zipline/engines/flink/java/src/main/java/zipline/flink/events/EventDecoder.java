package zipline.flink.events;

import java.io.IOException;
import java.io.Serializable;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.table.data.ArrayData;
import org.apache.flink.table.data.GenericArrayData;
import org.apache.flink.table.data.GenericMapData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.util.Collector;

/**
 * Messages as rows, one each: the columns asked for, behind them the metadata asked for. Instead of columns a change has
 * the rows asked for, of what it took away and of what it brought. What is no event is a row without columns that says
 * why. The tombstone behind a change that says the same gives none.
 */
final class EventDecoder implements DeserializationSchema<RowData> {
    static final String REFUSED = "refused";
    static final String RAW = "raw";
    static final List<String> SIDES = List.of("before", "after");
    static final int LONGEST_EVENT = 1 << 20;

    private final Table table;
    private final Clocks clocks;
    private final List<String> read;
    private final List<String> sides;
    private final List<String> metadata;
    private final TypeInformation<RowData> type;

    private transient Reader reader;

    /** The columns that the envelope of a change fills: when it was made, and whether the row was taken away. */
    record Clocks(String time, String before) implements Serializable {}

    /**
     * {@code read} are the columns that are built; the others are checked only. With {@code clocks} the messages are
     * changes, of which these {@code sides} are built.
     */
    EventDecoder(
            Table table,
            Clocks clocks,
            List<String> read,
            List<String> sides,
            List<String> metadata,
            TypeInformation<RowData> type) {
        this.table = table;
        this.clocks = clocks;
        this.read = List.copyOf(read);
        this.sides = List.copyOf(sides);
        this.metadata = List.copyOf(metadata);
        this.type = type;
    }

    @Override
    public void deserialize(byte[] message, Collector<RowData> out) throws IOException {
        if (reader == null) {
            reader = new Reader();
        }
        if (message == null && clocks != null) {
            return; // a tombstone, behind the change that says the same
        }
        try {
            reader.read(message, out);
        } catch (Refused refused) {
            GenericRowData row = new GenericRowData(reader.width);
            if (reader.refusedAt >= 0) {
                row.setField(reader.refusedAt, StringData.fromString(refused.text()));
            }
            reader.emit(row, message, out);
        }
    }

    @Override
    public RowData deserialize(byte[] message) {
        throw new UnsupportedOperationException("a message may give none");
    }

    @Override
    public boolean isEndOfStream(RowData row) {
        return false;
    }

    @Override
    public TypeInformation<RowData> getProducedType() {
        return type;
    }

    /** What one thread reads with. */
    private final class Reader {
        private final Table rows = clocks == null ? table : table.without(Set.of(clocks.time(), clocks.before()));
        private final Text text = new Text();
        private final Envelope envelope = clocks == null ? null : new Envelope(text);
        private final int columns = clocks == null ? read.size() : sides.size();
        final int width = columns + metadata.size();
        private final int inner = clocks == null ? width : read.size();
        private final int[] places = rows.names().stream().mapToInt(read::indexOf).toArray();
        private final int timeAt = clocks == null ? -1 : read.indexOf(clocks.time());
        private final int beforeAt = clocks == null ? -1 : read.indexOf(clocks.before());
        private final int rawAt = place(RAW);
        private final Fields fields = fields(Value.Mode.BUILDS, places, inner);
        private Fields keeping;
        final int refusedAt = place(REFUSED);

        private int place(String key) {
            int found = metadata.indexOf(key);
            return found < 0 ? -1 : columns + found;
        }

        private Fields fields(Value.Mode mode, int[] at, int count) {
            return Fields.columns(rows.names(), rows.types(), rows.required(), rows.refused(), mode, at, count);
        }

        void read(byte[] message, Collector<RowData> out) throws Refused {
            if (message == null || message.length == 0) {
                throw new Refused("an empty message");
            }
            if (message.length > LONGEST_EVENT) {
                throw new Refused(String.format(Locale.ROOT, "%,d bytes are too many for an event", message.length));
            }
            if (envelope == null) {
                emit(row(message, 0, message.length), message, out);
                return;
            }
            Envelope.Change change = envelope.change(message);
            GenericRowData row = new GenericRowData(width);
            for (String name : SIDES) {
                GenericRowData found = side(message, change, name.equals("before"));
                if (sides.contains(name)) {
                    row.setField(sides.indexOf(name), found);
                }
            }
            emit(row, message, out);
        }

        private GenericRowData side(byte[] message, Envelope.Change change, boolean isBefore) throws Refused {
            int[] span = isBefore ? change.before() : change.after();
            if (span == null) {
                return null;
            }
            GenericRowData row;
            try {
                row = row(message, span[0], span[1]);
            } catch (Refused refused) {
                throw refused.within(change.within() + (isBefore ? ".before" : ".after"));
            }
            if (timeAt >= 0) {
                row.setField(timeAt, Value.instant(change.micros()));
            }
            if (beforeAt >= 0) {
                row.setField(beforeAt, isBefore);
            }
            return row;
        }

        private GenericRowData row(byte[] message, int from, int to) throws Refused {
            text.open(message, from, to);
            try {
                GenericRowData row = (GenericRowData) fields.read(text);
                text.close();
                return row;
            } catch (Refused.Unfit unfit) {
                return rowOfAll(message, from, to);
            }
        }

        /** The row of an event one of whose values does not fit, if a later field of that name took its place. */
        private GenericRowData rowOfAll(byte[] message, int from, int to) throws Refused {
            int count = rows.names().size();
            if (keeping == null) {
                keeping = fields(Value.Mode.KEEPS, Fields.upTo(count), count);
            }
            text.open(message, from, to);
            GenericRowData all = (GenericRowData) keeping.read(text);
            text.close();
            GenericRowData row = new GenericRowData(inner);
            for (int i = 0; i < count; i++) {
                Refused.Unfit unfit = unfit(all.getField(i));
                if (unfit != null) {
                    throw new Refused(unfit.why + " (the column is " + rows.types().get(i) + ")")
                            .within("." + rows.names().get(i));
                }
                if (places[i] >= 0) {
                    row.setField(places[i], all.getField(i));
                }
            }
            return row;
        }

        void emit(GenericRowData row, byte[] message, Collector<RowData> out) {
            if (rawAt >= 0) {
                row.setField(rawAt, message);
            }
            out.collect(row);
        }
    }

    /** The first value within this one that its column cannot hold. */
    private static Refused.Unfit unfit(Object value) {
        if (value instanceof Refused.Unfit found) {
            return found;
        }
        Object[] parts = {};
        if (value instanceof GenericRowData row) {
            parts = new Object[row.getArity()];
            for (int i = 0; i < parts.length; i++) {
                parts[i] = row.getField(i);
            }
        } else if (value instanceof GenericArrayData array) {
            parts = array.toObjectArray();
        } else if (value instanceof GenericMapData map) {
            ArrayData items = map.valueArray();
            parts = ((GenericArrayData) items).toObjectArray();
        }
        for (Object part : parts) {
            Refused.Unfit found = unfit(part);
            if (found != null) {
                return found;
            }
        }
        return null;
    }
}
