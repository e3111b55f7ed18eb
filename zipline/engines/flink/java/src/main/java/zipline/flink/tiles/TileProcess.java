package zipline.flink.tiles;

import java.time.Duration;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.StateTtlConfig;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.util.Collector;
import zipline.flink.algebra.Tile;
import zipline.flink.algebra.TileSerializer;

/**
 * The tile of every place as state, which takes the events that belong to it: rows of the place, the weight, the clocks
 * and the columns. What is given on is the tile as it lies in the state, so that it costs nothing and changes with the
 * next event: whoever takes it encodes it before that, or later and has more. Operators that do not reuse objects copy it.
 *
 * <p>A tile is forgotten {@code kept} milliseconds after its last event. On the heap those that are over are looked for by
 * and by, a slot of the table with every access: while events keep coming there are never much more than twice as many
 * as are not over yet, and after a peak what it left stays until as many events have come. (Timers cost every new tile
 * more than that, and every checkpoint a third more; the default, five with every access, took a quarter of the job's
 * time.)
 */
final class TileProcess extends KeyedProcessFunction<Place, RowData, Tuple2<Place, Tile>> {
    private static final long serialVersionUID = 1L;
    /** Columns of a row before those of the table: the place, the weight, when it happened, when it was known. */
    static final int LEADING = 4;
    /** Slots of the table of tiles that are looked at with every access to one. */
    private static final int LOOKED_AT = 1;

    private final TileSerializer tiles;
    private final long kept;
    private final RowData.FieldGetter[] columns;
    private transient ValueState<Tile> state;

    TileProcess(TileSerializer tiles, long kept, RowType row) {
        this.tiles = tiles;
        this.kept = kept;
        this.columns = new RowData.FieldGetter[row.getFieldCount() - LEADING];
        for (int n = 0; n < columns.length; n++) {
            columns[n] = RowData.createFieldGetter(row.getTypeAt(LEADING + n), LEADING + n);
        }
    }

    @Override
    public void open(OpenContext context) {
        var ages = StateTtlConfig.newBuilder(Duration.ofMillis(kept))
                .setUpdateType(StateTtlConfig.UpdateType.OnCreateAndWrite)
                .setStateVisibility(StateTtlConfig.StateVisibility.NeverReturnExpired)
                .cleanupIncrementally(LOOKED_AT, false)
                .build();
        var tile = new ValueStateDescriptor<>("tile", tiles);
        tile.enableTimeToLive(ages);
        state = getRuntimeContext().getState(tile);
    }

    @Override
    public void processElement(RowData row, Context context, Collector<Tuple2<Place, Tile>> out) throws Exception {
        Tile tile = state.value();
        if (tile == null) {
            tile = tiles.createInstance();
        }
        Object[] values = new Object[columns.length];
        for (int n = 0; n < values.length; n++) {
            values[n] = columns[n].getFieldOrNull(row);
        }
        tile.take(row.getInt(1), row.getLong(2), row.isNullAt(3) ? null : row.getLong(3), values);
        state.update(tile);
        out.collect(Tuple2.of(context.getCurrentKey(), tile));
    }
}
