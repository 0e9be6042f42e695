package example.story;

import example.workspace.storage.v1.Transfer;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Files go to and from the object store directly, as a Transfer says. */
final class Objects {
  private static final Duration TIMEOUT = Duration.ofSeconds(10);
  private final HttpClient client;

  /**
   * @param ca file with the CA (PEM) of https URLs; empty: those that Java trusts
   */
  Objects(String ca) throws IOException, GeneralSecurityException {
    HttpClient.Builder builder =
        HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(TIMEOUT);
    client = (ca.isEmpty() ? builder : builder.sslContext(trusting(Path.of(ca)))).build();
  }

  void send(Transfer transfer, byte[] data) throws IOException, InterruptedException {
    transfer(transfer, data);
  }

  byte[] fetch(Transfer transfer) throws IOException, InterruptedException {
    return transfer(transfer, null);
  }

  private byte[] transfer(Transfer transfer, byte[] data) throws IOException, InterruptedException {
    HttpRequest.Builder request =
        HttpRequest.newBuilder(URI.create(transfer.getUrl()))
            .timeout(TIMEOUT)
            .method(
                transfer.getMethod(),
                data == null ? BodyPublishers.noBody() : BodyPublishers.ofByteArray(data));
    transfer.getHeadersMap().forEach((name, value) -> addHeader(request, name, value));
    HttpResponse<byte[]> answer = client.send(request.build(), BodyHandlers.ofByteArray());
    if (answer.statusCode() / 100 != 2) {
      // Without the URL: it is a credential.
      throw new IOException("the object store answered " + answer.statusCode());
    }
    return answer.body();
  }

  /** The client sends the length of the body by itself, and takes it from nobody. */
  private static void addHeader(HttpRequest.Builder request, String name, String value) {
    if (!name.equalsIgnoreCase("content-length")) {
      request.setHeader(name, value);
    }
  }

  private static SSLContext trusting(Path ca) throws IOException, GeneralSecurityException {
    KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
    store.load(null, null);
    try (InputStream stream = Files.newInputStream(ca)) {
      for (Certificate one : CertificateFactory.getInstance("X.509").generateCertificates(stream)) {
        store.setCertificateEntry("ca-" + store.size(), one);
      }
    }
    TrustManagerFactory trust =
        TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    trust.init(store);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(null, trust.getTrustManagers(), null);
    return context;
  }
}
