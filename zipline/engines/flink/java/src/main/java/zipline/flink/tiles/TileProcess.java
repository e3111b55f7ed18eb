package zipline.flink.tiles;

import org.apache.flink.api.common.functions.OpenContext;
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
 * <p>A tile is forgotten {@code kept} milliseconds after its last event, by a timer. (State with a time to live is looked
 * through with every event: that took a quarter of the job's time.)
 */
final class TileProcess extends KeyedProcessFunction<Place, RowData, Tuple2<Place, Tile>> {
    private static final long serialVersionUID = 1L;
    /** Columns of a row before those of the table: the place, the weight, when it happened, when it was known. */
    static final int LEADING = 4;

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
        state = getRuntimeContext().getState(new ValueStateDescriptor<>("tile", tiles));
    }

    @Override
    public void processElement(RowData row, Context context, Collector<Tuple2<Place, Tile>> out) throws Exception {
        long now = context.timerService().currentProcessingTime();
        Tile tile = state.value();
        if (tile == null) {
            tile = tiles.createInstance();
            context.timerService().registerProcessingTimeTimer(now + kept);
        }
        Object[] values = new Object[columns.length];
        for (int n = 0; n < values.length; n++) {
            values[n] = columns[n].getFieldOrNull(row);
        }
        tile.take(row.getInt(1), row.getLong(2), row.isNullAt(3) ? null : row.getLong(3), values);
        tile.touch(now);
        state.update(tile);
        out.collect(Tuple2.of(context.getCurrentKey(), tile));
    }

    @Override
    public void onTimer(long time, OnTimerContext context, Collector<Tuple2<Place, Tile>> out) throws Exception {
        Tile tile = state.value();
        if (tile != null && tile.touched() + kept > time) {
            context.timerService().registerProcessingTimeTimer(tile.touched() + kept);
        } else {
            state.clear();
        }
    }
}
