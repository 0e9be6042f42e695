package example.workspace.client;

import com.google.gson.Gson;
import com.google.gson.JsonParseException;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.Map;

/**
 * The published retry policy of all services, as gRPC wants it.
 *
 * <p>{@code service_config.json} joins the {@code *_service_config.json} of the protos and asks for
 * {@code round_robin}. It has no timeouts: set a deadline on each call.
 */
public final class ServiceConfigs {
  private static final String RESOURCE = "service_config.json";

  private ServiceConfigs() {}

  /**
   * The service config for {@code ManagedChannelBuilder.defaultServiceConfig}: only {@code
   * UNAVAILABLE} is tried again, up to four times in all. A call that changes something needs a
   * {@code request_id}, which makes that safe.
   *
   * @return JSON as maps, lists, strings and doubles; not to be changed
   * @throws IllegalStateException if this jar is broken: the resource is missing or no JSON
   */
  @SuppressWarnings("unchecked")
  public static Map<String, ?> published() {
    try (InputStream stream = ServiceConfigs.class.getResourceAsStream(RESOURCE)) {
      if (stream == null) {
        throw new IllegalStateException(RESOURCE + " is not in the jar of the client");
      }
      Reader reader = new InputStreamReader(stream, StandardCharsets.UTF_8);
      return Collections.unmodifiableMap(new Gson().fromJson(reader, Map.class));
    } catch (JsonParseException error) {
      throw new IllegalStateException(RESOURCE + " in the jar of the client is no JSON", error);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }
}
