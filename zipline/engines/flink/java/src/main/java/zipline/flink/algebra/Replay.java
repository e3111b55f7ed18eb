package zipline.flink.algebra;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.GenericArrayData;
import org.apache.flink.table.data.GenericMapData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;

/**
 * Makes tiles and places of events without a cluster, for tests: of each line of standard input, a JSON object, a line of
 * hexadecimal blobs. Values are as JSON has them, floats, decimals and binary as text, times as their numbers, maps as lists
 * of pairs, structs as lists.
 */
public final class Replay {
    private static final HexFormat HEX = HexFormat.of();

    private Replay() {}

    public static void main(String[] args) throws IOException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.US_ASCII);
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Map<?, ?> asked = Spec.parsed(line);
            out.println(asked.containsKey("spec") ? tiles(asked) : places(asked));
        }
        out.flush();
    }

    /** The tile of all events; that of one that was serialized and copied in between; that of parts merged. */
    private static String tiles(Map<?, ?> asked) throws IOException {
        String text = (String) asked.get("spec");
        Type[] types = ((List<?>) Spec.parsed(text).get("columns"))
                .stream().map(each -> Type.of((String) each)).toArray(Type[]::new);
        TileSerializer serializer = new TileSerializer(text);
        List<?> rows = (List<?>) asked.get("rows");
        Tile whole = serializer.createInstance();
        Tile resumed = serializer.createInstance();
        Tile[] parts = new Tile[((Number) asked.get("parts")).intValue()];
        Arrays.setAll(parts, n -> serializer.createInstance());
        for (int n = 0; n < rows.size(); n++) {
            List<?> row = (List<?>) rows.get(n);
            take(whole, row, types);
            if (n == rows.size() / 2) {
                Tile before = serializer.copy(resumed);
                byte[] then = before.encoded();
                resumed = resumed(resumed, serializer);
                Tile after = serializer.copy(resumed);
                take(resumed, row, types);
                if (!Arrays.equals(before.encoded(), then) || !Arrays.equals(after.encoded(), then)) {
                    throw new IllegalStateException("a copy changes with its original, or is none: " + text);
                }
            } else {
                take(resumed, row, types);
            }
            take(parts[n % parts.length], row, types);
        }
        Tile merged = serializer.createInstance();
        for (Tile part : parts) {
            merged.merge(resumed(part, serializer));
        }
        return hex(whole) + " " + hex(resumed) + " " + hex(merged);
    }

    private static void take(Tile tile, List<?> row, Type[] types) {
        int weight = ((Number) row.get(0)).intValue();
        tile.take(weight, (Long) row.get(1), (Long) row.get(2), values((List<?>) row.get(3), types));
    }

    private static Tile resumed(Tile tile, TileSerializer serializer) throws IOException {
        DataOutputSerializer out = new DataOutputSerializer(64);
        serializer.serialize(tile, out);
        DataOutputSerializer copied = new DataOutputSerializer(64);
        serializer.copy(new DataInputDeserializer(out.getCopyOfBuffer()), copied);
        return serializer.deserialize(new DataInputDeserializer(copied.getCopyOfBuffer()));
    }

    private static String hex(Tile tile) {
        return HEX.formatHex(tile.encoded());
    }

    private static String places(Map<?, ?> asked) {
        Type[] types =
                ((List<?>) asked.get("keys")).stream().map(each -> Type.of((String) each)).toArray(Type[]::new);
        Keys keys =
                new Keys(Arrays.stream(types).map(each -> Keys.Kind.of(each.logical())).toArray(Keys.Kind[]::new));
        long width = (Long) asked.get("width");
        StringBuilder found = new StringBuilder();
        for (Object each : (List<?>) asked.get("rows")) {
            List<?> row = (List<?>) each;
            byte[] place = keys.place(width, (Long) row.get(0), (Long) row.get(1), values((List<?>) row.get(2), types));
            found.append(place == null ? "null" : HEX.formatHex(place)).append(' ');
        }
        return found.toString();
    }

    private static Object[] values(List<?> row, Type[] types) {
        Object[] found = new Object[types.length];
        Arrays.setAll(found, n -> value(row.get(n), types[n]));
        return found;
    }

    private static Object value(Object json, Type type) {
        if (json == null) {
            return null;
        }
        return switch (type.name()) {
            case "BIGINT", "BOOLEAN" -> json;
            case "TINYINT" -> ((Long) json).byteValue();
            case "SMALLINT" -> ((Long) json).shortValue();
            case "INT", "DATE" -> ((Long) json).intValue();
            case "FLOAT" -> (float) Double.parseDouble((String) json);
            case "DOUBLE" -> Double.parseDouble((String) json);
            case "STRING" -> StringData.fromString((String) json);
            case "BINARY" -> HEX.parseHex((String) json);
            case "TIMESTAMP" -> instant((Long) json);
            case "DECIMAL" -> decimal((String) json, type);
            case "ARRAY" -> new GenericArrayData(values((List<?>) json, type.parts().get(0)));
            case "MAP" -> map((List<?>) json, type);
            case "STRUCT" -> GenericRowData.of(values((List<?>) json, type.parts().toArray(new Type[0])));
            default -> throw new IllegalArgumentException(type + " has no values");
        };
    }

    private static Object[] values(List<?> list, Type type) {
        return list.stream().map(each -> value(each, type)).toArray();
    }

    private static TimestampData instant(long micros) {
        return TimestampData.fromEpochMillis(
                Math.floorDiv(micros, 1000L), (int) Math.floorMod(micros, 1000L) * 1000);
    }

    private static DecimalData decimal(String text, Type type) {
        return DecimalData.fromBigDecimal(new BigDecimal(text), type.precision(), type.scale());
    }

    private static GenericMapData map(List<?> pairs, Type type) {
        Map<Object, Object> found = new LinkedHashMap<>();
        for (Object each : pairs) {
            List<?> pair = (List<?>) each;
            found.put(value(pair.get(0), type.parts().get(0)), value(pair.get(1), type.parts().get(1)));
        }
        return new GenericMapData(found);
    }
}
