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
        settings.setString("state.backend.type", args[3]);
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

    /**
     * The number itself. The job fails once: after {@code least} numbers, as soon as a checkpoint is whole that was
     * begun after half of them. Until then numbers come slowly, so that even a busy machine fails before the last.
     */
    public static final class FailOnce extends ScalarFunction {
        static final AtomicLong SEEN = new AtomicLong();
        static volatile long failedAt;
        static Path checkpoints;
        private static volatile long newestAtHalf = Long.MAX_VALUE;

        public Long eval(Long number, Long least) throws IOException, InterruptedException {
            long seen = SEEN.incrementAndGet();
            if (seen == least / 2) {
                newestAtHalf = newest();
            }
            if (seen >= least && failedAt == 0) {
                if (newest() >= newestAtHalf + 2) {
                    failedAt = seen;
                    throw new IllegalStateException("failed, as asked");
                }
                Thread.sleep(200);
            }
            return number;
        }

        /** The number of the newest whole checkpoint, 0 before the first. Only one is made at a time. */
        private static synchronized long newest() throws IOException {
            while (true) {
                try (Stream<Path> files = Files.walk(checkpoints)) {
                    return files.filter(each -> each.endsWith("_metadata"))
                            .mapToLong(each -> Long.parseLong(each.getParent().getFileName().toString().substring(4)))
                            .max()
                            .orElse(0);
                } catch (UncheckedIOException removedMeanwhile) {
                    // looked at while an older one was removed: again
                }
            }
        }

        @Override
        public boolean isDeterministic() {
            return false;
        }
    }
}
