package zipline.flink.algebra;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.functions.FunctionDefinition;
import org.apache.flink.table.functions.ScalarFunction;
import org.apache.flink.table.functions.SpecializedFunction;
import org.apache.flink.table.functions.UserDefinedFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.ArgumentCount;
import org.apache.flink.table.types.inference.CallContext;
import org.apache.flink.table.types.inference.ConstantArgumentCount;
import org.apache.flink.table.types.inference.InputTypeStrategy;
import org.apache.flink.table.types.inference.Signature;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.utils.DataTypeUtils;

/**
 * {@code zipline_place(width BIGINT, t BIGINT, available BIGINT, key...)}: where an event belongs, as bytes: its key, the
 * UTC day of {@code available} in four bytes, the start of the span of {@code width} that holds {@code t} in eight, the
 * highest first. Null where a part of the key, or a time, is null.
 */
public final class PlaceFunction extends ScalarFunction implements SpecializedFunction {
    private static final long serialVersionUID = 1;
    private static final int LEADING = 3;

    private final Keys.Kind[] kinds;
    private transient Keys keys;

    public PlaceFunction() {
        this(null);
    }

    private PlaceFunction(Keys.Kind[] kinds) {
        this.kinds = kinds;
    }

    @Override
    public UserDefinedFunction specialize(SpecializedContext context) {
        List<DataType> given = context.getCallContext().getArgumentDataTypes();
        return new PlaceFunction(given.subList(LEADING, given.size()).stream()
                .map(each -> Keys.Kind.of(each.getLogicalType()))
                .toArray(Keys.Kind[]::new));
    }

    public byte[] eval(Long width, Long t, Long available, Object... key) {
        if (keys == null) {
            keys = new Keys(kinds);
        }
        return t == null || available == null ? null : keys.place(width, t, available, key);
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory factory) {
        return TypeInference.newBuilder()
                .inputTypeStrategy(new Inputs())
                .outputTypeStrategy(call -> Optional.of(DataTypes.BYTES()))
                .build();
    }

    private static final class Inputs implements InputTypeStrategy {
        @Override
        public ArgumentCount getArgumentCount() {
            return ConstantArgumentCount.from(LEADING);
        }

        @Override
        public Optional<List<DataType>> inferInputTypes(CallContext call, boolean throwOnFailure) {
            List<DataType> given = call.getArgumentDataTypes();
            List<DataType> found = new ArrayList<>();
            for (int n = 0; n < given.size(); n++) {
                found.add(n < LEADING ? DataTypes.BIGINT() : DataTypeUtils.toInternalDataType(given.get(n)));
            }
            return Optional.of(found);
        }

        @Override
        public List<Signature> getExpectedSignatures(FunctionDefinition definition) {
            return List.of(Signature.of(
                    Signature.Argument.of("BIGINT"),
                    Signature.Argument.of("BIGINT"),
                    Signature.Argument.of("BIGINT"),
                    Signature.Argument.ofVarying("key")));
        }
    }
}
