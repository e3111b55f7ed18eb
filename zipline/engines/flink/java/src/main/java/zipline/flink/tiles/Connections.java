package zipline.flink.tiles;

import java.io.IOException;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.producer.Producer;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.serialization.ByteArraySerializer;

/** Producers, one for each set of settings in a process however many sinks there are; closed with its last user. */
final class Connections {
    private static final Map<Properties, Shared> OPEN = new HashMap<>();

    private Connections() {}

    static Connection to(Properties settings) {
        synchronized (OPEN) {
            var shared = OPEN.computeIfAbsent(settings, Shared::new);
            shared.users++;
            return new Connection(shared);
        }
    }

    private static final class Shared {
        private final Properties settings;
        private final Producer<byte[], byte[]> producer;
        private int users;

        Shared(Properties settings) {
            this.settings = settings;
            var all = new Properties();
            all.put("acks", "all");
            all.put("enable.idempotence", "true");
            all.put("compression.type", "lz4");
            all.put("linger.ms", "0");
            all.put("batch.size", Integer.toString(1 << 20));
            all.put("max.request.size", Integer.toString(64 << 20));
            all.put("buffer.memory", Integer.toString(128 << 20));
            all.putAll(settings);
            var loader = Thread.currentThread().getContextClassLoader();
            try {
                Thread.currentThread().setContextClassLoader(Connections.class.getClassLoader());
                this.producer = new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
            } finally {
                Thread.currentThread().setContextClassLoader(loader);
            }
        }

        void left() {
            synchronized (OPEN) {
                if (--users == 0) {
                    OPEN.remove(settings);
                    producer.close();
                }
            }
        }
    }

    /** One user's: a failure of what it sent is raised at its next call, and fails its task. */
    static final class Connection implements AutoCloseable {
        private final Shared shared;
        private final AtomicReference<Exception> wrong = new AtomicReference<>();

        private Connection(Shared shared) {
            this.shared = shared;
        }

        void send(String topic, byte[] message) throws IOException {
            check();
            shared.producer.send(new ProducerRecord<>(topic, 0, null, message), (placed, failed) -> {
                if (failed != null) {
                    wrong.compareAndSet(null, failed);
                }
            });
        }

        /** Returns when all that was sent is with the brokers. */
        void await() throws IOException {
            shared.producer.flush();
            check();
        }

        private void check() throws IOException {
            if (wrong.get() != null) {
                throw new IOException("tiles could not be sent", wrong.get());
            }
        }

        @Override
        public void close() {
            shared.left();
        }
    }
}
