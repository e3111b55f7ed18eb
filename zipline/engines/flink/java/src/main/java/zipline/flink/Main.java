package zipline.flink;

import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

/**
 * Runs a job that is SQL: statements between lines of a single semicolon. {@code Main FILE} runs those of a file,
 * {@code Main -} those of standard input. What is printed is the id of every job that was begun, and every plan that
 * is asked for.
 */
public final class Main {
    private Main() {}

    public static void main(String[] args) throws Exception {
        String script = args[0].equals("-") ? read(System.in) : Files.readString(Path.of(args[0]));
        TableEnvironment tables = TableEnvironment.create(
                EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(new Configuration()).build());
        for (String statement : script.split("\\n;\\n")) {
            if (!statement.isBlank()) {
                var found = tables.executeSql(statement);
                var client = found.getJobClient();
                if (client.isPresent()) {
                    System.out.println("JOB " + client.get().getJobID());
                    System.out.flush();
                    found.await();
                } else if (statement.stripLeading().startsWith("EXPLAIN")) {
                    found.collect().forEachRemaining(plan -> System.out.println(plan.getField(0)));
                }
            }
        }
    }

    private static String read(InputStream input) throws Exception {
        return new String(input.readAllBytes(), StandardCharsets.UTF_8);
    }
}
