package zipline.flink.events;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.connector.format.DecodingFormat;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.factories.DeserializationFormatFactory;
import org.apache.flink.table.factories.DynamicTableFactory;
import org.apache.flink.table.factories.FactoryUtil;

/** Events as JSON, strictly: {@code 'format' = 'zipline-json'}. */
public final class EventFormatFactory implements DeserializationFormatFactory {
    static final ConfigOption<String> COLUMNS = ConfigOptions.key("columns")
            .stringType()
            .noDefaultValue()
            .withDescription("JSON object: every column of the table and its type.");
    static final ConfigOption<String> REQUIRED = ConfigOptions.key("required")
            .stringType()
            .defaultValue("[]")
            .withDescription("JSON list: the columns that may not be null.");
    static final ConfigOption<String> PARTITION = ConfigOptions.key("partition")
            .stringType()
            .noDefaultValue()
            .withDescription("The column that is no part of an event, for the words in which it is refused.");
    static final ConfigOption<Form> ENVELOPE = ConfigOptions.key("envelope")
            .enumType(Form.class)
            .defaultValue(Form.NONE)
            .withDescription("Whether a message is an event, or a change as Debezium tells it.");
    static final ConfigOption<String> TIME_COLUMN = ConfigOptions.key("time-column")
            .stringType()
            .noDefaultValue()
            .withDescription("Of changes: the column that says when each was made.");
    static final ConfigOption<String> BEFORE_COLUMN = ConfigOptions.key("before-column")
            .stringType()
            .noDefaultValue()
            .withDescription("Of changes: the column that is true on a row taken away.");

    /** What a message is. */
    public enum Form {
        NONE,
        DEBEZIUM
    }

    @Override
    public String factoryIdentifier() {
        return "zipline-json";
    }

    @Override
    public Set<ConfigOption<?>> requiredOptions() {
        return Set.of(COLUMNS);
    }

    @Override
    public Set<ConfigOption<?>> optionalOptions() {
        return Set.of(REQUIRED, PARTITION, ENVELOPE, TIME_COLUMN, BEFORE_COLUMN);
    }

    @Override
    public DecodingFormat<DeserializationSchema<RowData>> createDecodingFormat(
            DynamicTableFactory.Context context, ReadableConfig options) {
        FactoryUtil.validateFactoryOptions(this, options);
        return new EventFormat(table(options), clocks(options));
    }

    /** The table that these options describe. */
    static Table table(ReadableConfig options) {
        Map<String, Portable> columns = columns(options.get(COLUMNS));
        Set<String> required = Set.copyOf(names(options.get(REQUIRED)));
        required.forEach(name -> type(columns, name, "required"));
        return new Table(
                List.copyOf(columns.keySet()), List.copyOf(columns.values()), required, options.get(PARTITION));
    }

    /** The columns that the envelope fills; null where there is no envelope. */
    static EventDecoder.Clocks clocks(ReadableConfig options) {
        String time = options.get(TIME_COLUMN);
        String before = options.get(BEFORE_COLUMN);
        if (options.get(ENVELOPE) == Form.NONE) {
            if (time != null || before != null) {
                throw new ValidationException("zipline-json.time-column and zipline-json.before-column are of changes");
            }
            return null;
        }
        if (time == null || before == null) {
            throw new ValidationException("changes need zipline-json.time-column and zipline-json.before-column");
        }
        Map<String, Portable> columns = columns(options.get(COLUMNS));
        expect(type(columns, time, "time-column"), Portable.Kind.TIMESTAMP, time);
        expect(type(columns, before, "before-column"), Portable.Kind.BOOLEAN, before);
        return new EventDecoder.Clocks(time, before);
    }

    private static Portable type(Map<String, Portable> columns, String name, String option) {
        Portable found = columns.get(name);
        if (found == null) {
            throw new ValidationException("zipline-json." + option + ": there is no column '" + name + "'");
        }
        return found;
    }

    private static void expect(Portable type, Portable.Kind kind, String name) {
        if (type.kind() != kind) {
            throw new ValidationException("the column '" + name + "' is " + type + ", not " + kind);
        }
    }

    private static Map<String, Portable> columns(String json) {
        Map<String, Portable> found = new LinkedHashMap<>();
        try {
            Text text = opened(json, '{');
            for (boolean isFirst = true; text.next(isFirst, '}'); isFirst = false) {
                text.name();
                String name = text.shown();
                if (name.chars().anyMatch(c -> c < ' ' || c == '"' || c == '\\')) {
                    throw new ValidationException("events cannot have a field of the name '" + name + "'");
                }
                text.colon();
                text.name();
                found.put(name, Portable.parse(text.shown()));
            }
            text.close();
        } catch (Refused refused) {
            throw new ValidationException("zipline-json.columns is no JSON object of text: " + refused.text());
        }
        return found;
    }

    static List<String> names(String json) {
        List<String> found = new ArrayList<>();
        try {
            Text text = opened(json, '[');
            for (boolean isFirst = true; text.next(isFirst, ']'); isFirst = false) {
                text.name();
                found.add(text.shown());
            }
            text.close();
        } catch (Refused refused) {
            throw new ValidationException("zipline-json.required is no JSON list of text: " + refused.text());
        }
        return found;
    }

    private static Text opened(String json, char bracket) throws Refused {
        Text text = new Text();
        byte[] bytes = json.getBytes(UTF_8);
        text.open(bytes, 0, bytes.length);
        if (text.peek() != bracket) {
            throw text.malformed("expected '" + bracket + "'");
        }
        text.at++;
        return text;
    }
}
