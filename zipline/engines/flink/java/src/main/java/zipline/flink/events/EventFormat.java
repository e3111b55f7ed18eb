package zipline.flink.events;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.Projection;
import org.apache.flink.table.connector.format.ProjectableDecodingFormat;
import org.apache.flink.table.connector.source.DynamicTableSource;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.table.types.utils.DataTypeUtils;

/**
 * The format of a table: what is read of it is built, and all of it is checked. Of changes a row has the columns {@code
 * before} and {@code after}, each a row of columns of the table or null.
 */
final class EventFormat implements ProjectableDecodingFormat<DeserializationSchema<RowData>> {
    private final Table table;
    private final EventDecoder.Clocks clocks;
    private List<String> metadata = List.of();

    EventFormat(Table table, EventDecoder.Clocks clocks) {
        this.table = table;
        this.clocks = clocks;
    }

    @Override
    public DeserializationSchema<RowData> createRuntimeDecoder(
            DynamicTableSource.Context context, DataType physical, int[][] projections) {
        DataType read = Projection.of(projections).project(physical);
        RowType row = (RowType) read.getLogicalType();
        List<String> sides = List.of();
        RowType columns = row;
        if (clocks != null) {
            sides = row.getFieldNames();
            columns = sides.isEmpty() ? row : side(row.getFields().get(0));
            for (RowType.RowField field : row.getFields()) {
                if (!side(field).getFields().equals(columns.getFields())) {
                    throw new ValidationException("the rows of a change have the same columns");
                }
            }
        }
        for (RowType.RowField field : columns.getFields()) {
            check(field.getName(), field.getType());
        }
        Map<String, DataType> readable = listReadableMetadata();
        List<DataTypes.Field> more = new ArrayList<>();
        metadata.forEach(key -> more.add(DataTypes.FIELD("$" + key, readable.get(key))));
        DataType produced = DataTypeUtils.appendRowFields(read, more);
        return new EventDecoder(
                table, clocks, columns.getFieldNames(), sides, metadata, context.createTypeInformation(produced));
    }

    private static RowType side(RowType.RowField field) {
        if (!EventDecoder.SIDES.contains(field.getName()) || !(field.getType() instanceof RowType row)) {
            throw new ValidationException("of changes the columns are " + EventDecoder.SIDES + ", rows, not " + field);
        }
        return row;
    }

    private void check(String name, LogicalType type) {
        int place = table.names().indexOf(name);
        if (place < 0) {
            throw new ValidationException("the column '" + name + "' is none of zipline-json.columns: " + table.names());
        }
        Portable known = table.types().get(place);
        if (!known.isHeldBy(type)) {
            throw new ValidationException("the column '" + name + "' is declared as " + type + ", which does not hold " + known);
        }
    }

    @Override
    public boolean supportsNestedProjection() {
        return false;
    }

    @Override
    public Map<String, DataType> listReadableMetadata() {
        Map<String, DataType> found = new LinkedHashMap<>();
        found.put(EventDecoder.REFUSED, DataTypes.STRING().nullable());
        found.put(EventDecoder.RAW, DataTypes.BYTES().nullable());
        return found;
    }

    @Override
    public void applyReadableMetadata(List<String> keys) {
        metadata = List.copyOf(keys);
    }

    @Override
    public ChangelogMode getChangelogMode() {
        return ChangelogMode.insertOnly();
    }
}
