package zipline.flink;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableException;
import org.apache.flink.table.api.ValidationException;

/**
 * Runs a job that is SQL: {@code Main FILE}, {@code --detached} not to wait for its end. {@code Main -} reads a line with
 * the number of bytes from standard input, and so many of the job; when this input ends, so does the process, whatever
 * became of who wrote it.
 *
 * <p>The text has parts between NUL characters: the settings, a line {@code name=value} each, then the statements. Of
 * every job that begins its id is printed, {@code JOB id}, and of one that ends how many milliseconds it took, without
 * planning, and when it ended, {@code TOOK number UNTIL milliseconds since 1970}. What cannot be planned is told on one line of standard
 * error, {@code ERROR reason}, with exit code 2; a job that fails, likewise, with 1.
 */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) {
        boolean waits = !List.of(arguments).contains("--detached");
        try {
            run(read(arguments[0]), waits);
        } catch (ValidationException | TableException wrong) {
            end(2, wrong);
        } catch (Exception wrong) {
            end(1, wrong);
        }
    }

    private static void run(String text, boolean waits) throws Exception {
        var parts = new ArrayList<>(List.of(text.split("\0", -1)));
        var settings = Configuration.fromMap(settings(parts.remove(0)));
        var tables = TableEnvironment.create(
                EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
        for (String statement : parts) {
            var found = tables.executeSql(statement);
            if (statement.startsWith("EXPLAIN")) {
                found.print();
            }
            var client = found.getJobClient();
            if (client.isPresent()) {
                System.out.println("JOB " + client.get().getJobID());
                System.out.flush();
                if (waits) {
                    var result = client.get().getJobExecutionResult();
                    found.await();
                    long ended = System.currentTimeMillis();
                    System.out.println("TOOK " + result.get().getNetRuntime() + " UNTIL " + ended);
                }
            }
        }
    }

    private static Map<String, String> settings(String lines) {
        var found = new HashMap<String, String>();
        lines.lines().filter(line -> !line.isBlank()).forEach(line -> {
            int at = line.indexOf('=');
            found.put(line.substring(0, at), line.substring(at + 1));
        });
        return found;
    }

    private static String read(String place) throws IOException {
        if (!place.equals("-")) {
            return Files.readString(Path.of(place));
        }
        var size = new StringBuilder();
        for (int each = System.in.read(); each != '\n'; each = System.in.read()) {
            size.append((char) each);
        }
        String text = new String(System.in.readNBytes(Integer.parseInt(size.toString())), StandardCharsets.UTF_8);
        var waiting = new Thread(Main::endWithInput, "waiting for the end of the input");
        waiting.setDaemon(true);
        waiting.start();
        return text;
    }

    private static void endWithInput() {
        try {
            while (System.in.read() >= 0) {
                // nothing more is said
            }
        } catch (IOException gone) {
            // so is who wrote it
        }
        Runtime.getRuntime().halt(3);
    }

    /** The innermost reason is the one that helps; threads that Flink left behind do not keep the process. */
    private static void end(int code, Throwable wrong) {
        Throwable reason = wrong;
        while (reason.getCause() != null && reason.getCause() != reason) {
            reason = reason.getCause();
        }
        wrong.printStackTrace();
        System.err.println("ERROR " + String.valueOf(reason.getMessage()).replace('\n', ' '));
        System.err.flush();
        Runtime.getRuntime().halt(code);
    }
}
