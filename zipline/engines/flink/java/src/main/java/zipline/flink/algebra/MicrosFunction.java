package zipline.flink.algebra;

import java.util.List;
import java.util.Optional;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.functions.FunctionDefinition;
import org.apache.flink.table.functions.ScalarFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.ArgumentCount;
import org.apache.flink.table.types.inference.CallContext;
import org.apache.flink.table.types.inference.ConstantArgumentCount;
import org.apache.flink.table.types.inference.InputTypeStrategy;
import org.apache.flink.table.types.inference.Signature;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.utils.DataTypeUtils;

/**
 * {@code zipline_micros(instant)}: a TIMESTAMP_LTZ, a TIMESTAMP, which is taken as UTC, or a DATE, which is its midnight, in
 * microseconds since 1970-01-01 UTC; null of null.
 */
public final class MicrosFunction extends ScalarFunction {
    private static final long serialVersionUID = 1;
    static final long DAY = 86_400_000_000L;

    public Long eval(TimestampData instant) {
        return instant == null ? null : (Long) Values.micros(instant);
    }

    public Long eval(Integer day) {
        return day == null ? null : (Long) (day * DAY);
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory factory) {
        return TypeInference.newBuilder()
                .inputTypeStrategy(new Inputs())
                .outputTypeStrategy(call -> Optional.of(DataTypes.BIGINT()))
                .build();
    }

    private static final class Inputs implements InputTypeStrategy {
        @Override
        public ArgumentCount getArgumentCount() {
            return ConstantArgumentCount.of(1);
        }

        @Override
        public Optional<List<DataType>> inferInputTypes(CallContext call, boolean throwOnFailure) {
            DataType given = call.getArgumentDataTypes().get(0);
            return switch (given.getLogicalType().getTypeRoot()) {
                case TIMESTAMP_WITHOUT_TIME_ZONE, TIMESTAMP_WITH_LOCAL_TIME_ZONE, DATE ->
                    Optional.of(List.of(DataTypeUtils.toInternalDataType(given)));
                default -> call.fail(throwOnFailure, "%s is not a time", given);
            };
        }

        @Override
        public List<Signature> getExpectedSignatures(FunctionDefinition definition) {
            return List.of(Signature.of(Signature.Argument.of("TIMESTAMP_LTZ, TIMESTAMP or DATE")));
        }
    }
}
