package zipline.flink.events;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.data.ArrayData;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.GenericArrayData;
import org.apache.flink.table.data.GenericMapData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.util.Collector;

/**
 * Says what the format makes of messages, to compare it with others: {@code Replay option=value ...}, the options being
 * those of the format and {@code read}, a JSON list of the columns that are built. Each line of the input is a message
 * in base64, or {@code -} for a tombstone; each of the output a JSON list of its rows, either {@code {"row": [...]}} or
 * {@code {"refused": "..."}}; a change has up to two. Instants are microseconds, dates days since 1970, decimals and floats text, maps pairs.
 */
public final class Replay {
    private Replay() {}

    public static void main(String[] args) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (String arg : args) {
            options.put(arg.substring(0, arg.indexOf('=')), arg.substring(arg.indexOf('=') + 1));
        }
        String asked = options.remove("read");
        Configuration given = Configuration.fromMap(options);
        Table table = EventFormatFactory.table(given);
        List<String> read = asked == null ? table.names() : EventFormatFactory.names(asked);
        EventDecoder.Clocks clocks = EventFormatFactory.clocks(given);
        List<String> sides = clocks == null ? List.of() : EventDecoder.SIDES;
        EventDecoder decoder =
                new EventDecoder(table, clocks, read, sides, List.of(EventDecoder.REFUSED), null);
        PrintStream out = new PrintStream(System.out, false, UTF_8);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Rows rows = new Rows(table, read, sides);
            decoder.deserialize(line.equals("-") ? null : Base64.getDecoder().decode(line), rows);
            out.println(rows.found);
        }
        out.flush();
    }

    private static final class Rows implements Collector<RowData> {
        private final List<String> found = new ArrayList<>();
        private final List<Portable> types = new ArrayList<>();
        private final List<String> sides;

        Rows(Table table, List<String> read, List<String> sides) {
            this.sides = sides;
            read.forEach(name -> types.add(table.types().get(table.names().indexOf(name))));
        }

        @Override
        public void collect(RowData row) {
            int refused = sides.isEmpty() ? types.size() : sides.size();
            if (!row.isNullAt(refused)) {
                found.add("{\"refused\": " + quoted(row.getString(refused).toString()) + "}");
                return;
            }
            if (sides.isEmpty()) {
                found.add("{\"row\": " + shown(types, (GenericRowData) row) + "}");
            }
            for (int i = 0; i < sides.size(); i++) {
                if (!row.isNullAt(i)) {
                    found.add("{\"row\": " + shown(types, (GenericRowData) row.getRow(i, types.size())) + "}");
                }
            }
        }

        @Override
        public void close() {}
    }

    private static List<String> shown(List<Portable> types, GenericRowData row) {
        List<String> found = new ArrayList<>();
        for (int i = 0; i < types.size(); i++) {
            found.add(shown(types.get(i), row.getField(i)));
        }
        return found;
    }

    private static String shown(Portable type, Object value) {
        if (value == null) {
            return "null";
        }
        return switch (type.kind()) {
            case TIMESTAMP -> micros((TimestampData) value);
            case BINARY -> quoted(Base64.getEncoder().encodeToString((byte[]) value));
            case DECIMAL -> quoted(((DecimalData) value).toBigDecimal().toPlainString());
            case FLOAT, DOUBLE -> quoted(Double.toString(((Number) value).doubleValue()));
            case STRING -> quoted(value.toString());
            case ARRAY -> each(type.parts().get(0), (GenericArrayData) value).toString();
            case MAP -> pairs(type, (GenericMapData) value).toString();
            case STRUCT -> shown(type.parts(), (GenericRowData) value).toString();
            default -> Objects.toString(value);
        };
    }

    private static String micros(TimestampData value) {
        return Long.toString(value.getMillisecond() * 1000 + value.getNanoOfMillisecond() / 1000);
    }

    private static List<String> each(Portable type, GenericArrayData items) {
        List<String> found = new ArrayList<>();
        for (Object item : items.toObjectArray()) {
            found.add(shown(type, item));
        }
        return found;
    }

    private static List<String> pairs(Portable type, GenericMapData map) {
        List<String> found = new ArrayList<>();
        ArrayData values = map.valueArray();
        List<String> keys = each(type.parts().get(0), (GenericArrayData) map.keyArray());
        List<String> items = each(type.parts().get(1), (GenericArrayData) values);
        for (int i = 0; i < keys.size(); i++) {
            found.add("[" + keys.get(i) + ", " + items.get(i) + "]");
        }
        return found;
    }

    private static String quoted(String text) {
        StringBuilder found = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            boolean isPlain = c >= ' ' && c < 0x7F && c != '"' && c != '\\';
            found.append(isPlain ? String.valueOf(c) : String.format("\\u%04x", (int) c));
        }
        return found.append('"').toString();
    }
}
