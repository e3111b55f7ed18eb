package zipline.flink.algebra;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.functions.AggregateFunction;
import org.apache.flink.table.functions.FunctionDefinition;
import org.apache.flink.table.functions.SpecializedFunction;
import org.apache.flink.table.functions.UserDefinedFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.ArgumentCount;
import org.apache.flink.table.types.inference.CallContext;
import org.apache.flink.table.types.inference.ConstantArgumentCount;
import org.apache.flink.table.types.inference.InputTypeStrategy;
import org.apache.flink.table.types.inference.Signature;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.logical.RawType;
import org.apache.flink.table.types.utils.DataTypeUtils;

/**
 * {@code zipline_tile(CAST(NULL AS <type>), weight INT, t BIGINT, known BIGINT, column...)}: the tile of a group's events,
 * of type {@code <type>}, which is {@code RAW('zipline.flink.algebra.Tile', '<snapshot>')} and says what is kept. Of the
 * first argument nothing but the type is read: a literal would not reach an aggregate, and would go through the shuffle
 * with every row.
 *
 * <p>The result shares its content with the accumulator, so that it costs nothing and changes with the next event: whoever
 * takes it encodes it before that, or later and has more. It is another object every time, for the planner emits no result
 * that equals the last one.
 */
public final class TileFunction extends AggregateFunction<Tile, Tile> implements SpecializedFunction {
    private static final long serialVersionUID = 1;
    private static final int LEADING = 4;

    private final String text;

    /** As SQL creates it: the planner asks {@link #specialize} for the one that runs. */
    public TileFunction() {
        this(null);
    }

    private TileFunction(String text) {
        this.text = text;
    }

    @Override
    public UserDefinedFunction specialize(SpecializedContext context) {
        RawType<?> type = (RawType<?>) result(context.getCallContext()).getLogicalType();
        return new TileFunction(((TileSerializer) type.getTypeSerializer()).text());
    }

    @Override
    public Tile createAccumulator() {
        return new Tile(Spec.of(text));
    }

    public void accumulate(Tile tile, Tile type, Integer weight, Long t, Long known, Object... columns) {
        tile.take(weight, t, known, columns);
    }

    public void merge(Tile tile, Iterable<Tile> others) {
        others.forEach(tile::merge);
    }

    @Override
    public Tile getValue(Tile tile) {
        return tile.shared();
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory factory) {
        return TypeInference.newBuilder()
                .inputTypeStrategy(new Inputs())
                .accumulatorTypeStrategy(call -> Optional.of(result(call)))
                .outputTypeStrategy(call -> Optional.of(result(call)))
                .build();
    }

    private static DataType result(CallContext call) {
        DataType given = call.getArgumentDataTypes().get(0);
        if (given.getLogicalType() instanceof RawType<?> raw && raw.getTypeSerializer() instanceof TileSerializer) {
            return DataTypes.of(raw.copy(false)).bridgedTo(Tile.class);
        }
        throw new ValidationException("zipline_tile takes NULL of the type of its result first, not " + given);
    }

    /** Fixed types first, then columns of any, all as Flink has them inside. */
    private static final class Inputs implements InputTypeStrategy {
        @Override
        public ArgumentCount getArgumentCount() {
            return ConstantArgumentCount.from(LEADING);
        }

        @Override
        public Optional<List<DataType>> inferInputTypes(CallContext call, boolean throwOnFailure) {
            List<DataType> found = new ArrayList<>();
            found.add(result(call).nullable());
            found.add(DataTypes.INT());
            found.add(DataTypes.BIGINT());
            found.add(DataTypes.BIGINT());
            for (DataType column : call.getArgumentDataTypes().subList(LEADING, call.getArgumentDataTypes().size())) {
                found.add(DataTypeUtils.toInternalDataType(column));
            }
            return Optional.of(found);
        }

        @Override
        public List<Signature> getExpectedSignatures(FunctionDefinition definition) {
            return List.of(Signature.of(
                    Signature.Argument.of("NULL of the tile's type"),
                    Signature.Argument.of("INT"),
                    Signature.Argument.of("BIGINT"),
                    Signature.Argument.of("BIGINT"),
                    Signature.Argument.ofVarying("column")));
        }
    }
}
