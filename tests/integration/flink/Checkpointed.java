import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Stream;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.functions.ScalarFunction;

/** Runs a script of SQL with checkpoints, on a cluster that goes on after a failure. */
public final class Checkpointed {
    private Checkpointed() {}

    public static void main(String[] args) throws Exception {
        Configuration settings = new Configuration();
        settings.setString("execution.checkpointing.interval", "50 ms");
        settings.setString("parallelism.default", "2");
        settings.setString("restart-strategy.type", "fixed-delay");
        settings.setString("restart-strategy.fixed-delay.delay", "10 ms");
        settings.setString("pipeline.object-reuse", args[1]);
        settings.setString("execution.checkpointing.dir", Path.of(args[2]).toUri().toString());
        FailOnce.checkpoints = Path.of(args[2]);
        TableEnvironment tables = TableEnvironment.create(
                EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
        for (String statement : Files.readString(Path.of(args[0])).split("\\n;\\n")) {
            if (!statement.isBlank()) {
                tables.executeSql(statement).await();
            }
        }
        System.out.println("SEEN " + FailOnce.failedAt + " " + FailOnce.SEEN.get());
    }

    /** The number itself; from {@code least} on the job fails once, as soon as there is a whole checkpoint. */
    public static final class FailOnce extends ScalarFunction {
        static final AtomicLong SEEN = new AtomicLong();
        static volatile long failedAt;
        static Path checkpoints;

        public Long eval(Long number, Long least) throws IOException {
            long seen = SEEN.incrementAndGet();
            if (number >= least && failedAt == 0 && isThereOne()) {
                failedAt = seen;
                throw new IllegalStateException("failed, as asked");
            }
            return number;
        }

        private static synchronized boolean isThereOne() throws IOException {
            try (Stream<Path> files = Files.walk(checkpoints)) {
                return files.anyMatch(each -> each.endsWith("_metadata"));
            } catch (UncheckedIOException removedMeanwhile) {
                return false;
            }
        }

        @Override
        public boolean isDeterministic() {
            return false;
        }
    }
}
