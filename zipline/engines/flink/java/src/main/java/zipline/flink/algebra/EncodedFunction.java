package zipline.flink.algebra;

import java.util.Optional;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.functions.ScalarFunction;
import org.apache.flink.table.types.inference.InputTypeStrategies;
import org.apache.flink.table.types.inference.TypeInference;

/** {@code zipline_encoded(tile)}: the bytes of a tile, as {@code opened} of {@code partials.py} reads them. */
public final class EncodedFunction extends ScalarFunction {
    private static final long serialVersionUID = 1;

    public byte[] eval(Tile tile) {
        return tile == null ? null : tile.encoded();
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory factory) {
        return TypeInference.newBuilder()
                .inputTypeStrategy(InputTypeStrategies.sequence(InputTypeStrategies.ANY))
                .outputTypeStrategy(call -> Optional.of(DataTypes.BYTES()))
                .build();
    }
}
