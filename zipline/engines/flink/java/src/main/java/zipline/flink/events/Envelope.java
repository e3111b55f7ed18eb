package zipline.flink.events;

import java.util.List;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.StringData;

/** A change as Debezium tells it, plain or within {@code {"schema": ..., "payload": ...}}. */
final class Envelope {
    private static final List<String> NAMES = List.of("before", "after", "op", "ts_ms", "source", "payload");
    private final Text text;
    private final Fields fields;

    Envelope(Text text) {
        Portable number = Portable.parse("BIGINT");
        Fields source = Fields.among(true, List.of("ts_us", "ts_ms"), nullable(number), nullable(number));
        Value op = nullable(Portable.parse("STRING"));
        this.text = text;
        this.fields = Fields.among(
                false, NAMES, new Value.Span(), new Value.Span(), op, nullable(number), source, new Value.Span());
    }

    private static Value nullable(Portable type) {
        return Value.of(type, true, Value.Mode.BUILDS);
    }

    /**
     * A change: where in the message the row stands that it took away, and the one that it brought (null where there is
     * none), when it was made, and within what its paths begin.
     */
    record Change(int[] before, int[] after, long micros, String within) {}

    Change change(byte[] message) throws Refused {
        GenericRowData whole = read(message, 0, message.length);
        int[] payload = (int[]) whole.getField(5);
        if (payload == null) {
            return change(whole, "");
        }
        try {
            return change(read(message, payload[0], payload[1]), ".payload");
        } catch (Refused refused) {
            throw refused.within(".payload");
        }
    }

    private GenericRowData read(byte[] message, int from, int to) throws Refused {
        text.open(message, from, to);
        GenericRowData found = (GenericRowData) fields.read(text);
        text.close();
        return found;
    }

    private static Change change(GenericRowData found, String within) throws Refused {
        StringData op = found.getString(2);
        int[] before = null;
        int[] after = null;
        switch (op == null ? "" : op.toString()) {
            case "c", "r" -> after = after(found);
            case "u" -> {
                before = before(found);
                after = after(found);
            }
            case "d" -> before = before(found);
            default -> throw new Refused(op == null ? "is missing: it says what kind of change it is" : "is no change of a row")
                    .within(".op");
        }
        return new Change(before, after, micros(found), within);
    }

    private static int[] before(GenericRowData found) throws Refused {
        if (found.getField(0) == null) {
            throw new Refused("is missing: what the change took away is not known (give the table REPLICA IDENTITY FULL)")
                    .within(".before");
        }
        return (int[]) found.getField(0);
    }

    private static int[] after(GenericRowData found) throws Refused {
        if (found.getField(1) == null) {
            throw new Refused("is missing: what the change brought is not known").within(".after");
        }
        return (int[]) found.getField(1);
    }

    private static long micros(GenericRowData found) throws Refused {
        GenericRowData source = (GenericRowData) found.getField(4);
        if (source != null && source.getField(0) != null) {
            return checked((Long) source.getField(0), 1, ".source.ts_us");
        }
        if (source != null && source.getField(1) != null) {
            return checked((Long) source.getField(1), 1000, ".source.ts_ms");
        }
        if (found.getField(3) != null) {
            return checked((Long) found.getField(3), 1000, ".ts_ms");
        }
        throw new Refused("it does not say when the change was made: neither source.ts_us, source.ts_ms nor ts_ms");
    }

    private static long checked(long value, long unit, String path) throws Refused {
        if (value < Math.floorDiv(Instants.FIRST, unit) || value > Math.floorDiv(Instants.LAST, unit)) {
            throw new Refused("is outside the years 1 to 9999").within(path);
        }
        return value * unit;
    }
}
