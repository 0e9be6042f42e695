package example.workspace.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.Descriptors.MethodDescriptor;
import com.google.protobuf.Descriptors.ServiceDescriptor;
import example.workspace.identity.v1.AccountServiceProto;
import example.workspace.identity.v1.GetSessionRequest;
import example.workspace.identity.v1.GetSessionResponse;
import example.workspace.identity.v1.IdentityServiceGrpc;
import example.workspace.identity.v1.IdentityServiceProto;
import example.workspace.identity.v1.InvitationServiceProto;
import example.workspace.identity.v1.PreferenceServiceProto;
import example.workspace.identity.v1.TeamServiceProto;
import example.workspace.project.v1.DocumentServiceProto;
import example.workspace.project.v1.GrantServiceProto;
import example.workspace.project.v1.HistoryServiceProto;
import example.workspace.project.v1.PermissionServiceProto;
import example.workspace.project.v1.ProjectServiceProto;
import example.workspace.storage.v1.CatalogServiceProto;
import example.workspace.storage.v1.StorageServiceProto;
import example.workspace.sync.v1.ConnectionServiceProto;
import example.workspace.sync.v1.SyncServiceProto;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.InsecureServerCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

class ServiceConfigsTest {
  private static final List<FileDescriptor> SERVICES =
      List.of(
          AccountServiceProto.getDescriptor(),
          CatalogServiceProto.getDescriptor(),
          ConnectionServiceProto.getDescriptor(),
          DocumentServiceProto.getDescriptor(),
          GrantServiceProto.getDescriptor(),
          HistoryServiceProto.getDescriptor(),
          IdentityServiceProto.getDescriptor(),
          InvitationServiceProto.getDescriptor(),
          PermissionServiceProto.getDescriptor(),
          PreferenceServiceProto.getDescriptor(),
          ProjectServiceProto.getDescriptor(),
          StorageServiceProto.getDescriptor(),
          SyncServiceProto.getDescriptor(),
          TeamServiceProto.getDescriptor());

  @Test
  void namesMethodsThatAreThereAndEveryService() {
    Set<String> named = new TreeSet<>();
    Set<String> services = new TreeSet<>();
    for (Map<?, ?> config : methodConfigs()) {
      for (Object name : (List<?>) config.get("name")) {
        Map<?, ?> method = (Map<?, ?>) name;
        services.add((String) method.get("service"));
        named.add(method.get("service") + "." + method.get("method"));
      }
    }
    named.removeAll(
        services().flatMap(service -> service.getMethods().stream())
            .map(MethodDescriptor::getFullName)
            .collect(Collectors.toSet()));
    assertEquals(Set.of(), named);
    assertEquals(
        services().map(ServiceDescriptor::getFullName).collect(Collectors.toSet()), services);
  }

  @Test
  void repeatsWhatIsUnavailable() throws Exception {
    assertEquals(3, attempts(2, Status.UNAVAILABLE, Status.OK));
  }

  @Test
  void givesUpAfterFourAttempts() throws Exception {
    assertEquals(4, attempts(Integer.MAX_VALUE, Status.UNAVAILABLE, Status.UNAVAILABLE));
  }

  @Test
  void repeatsNothingElse() throws Exception {
    assertEquals(1, attempts(1, Status.ABORTED, Status.ABORTED));
  }

  /** How often a server was asked that refuses the first calls; the client must see `seen`. */
  private static int attempts(int refused, Status refusal, Status seen) throws Exception {
    Sessions sessions = new Sessions(refused, refusal);
    Server server =
        Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create())
            .addService(sessions)
            .build()
            .start();
    try {
      assertEquals(seen.getCode(), call("localhost:" + server.getPort()));
    } finally {
      server.shutdownNow().awaitTermination();
    }
    return sessions.asked.get();
  }

  private static Status.Code call(String target) throws InterruptedException {
    ManagedChannel channel =
        Grpc.newChannelBuilder(target, InsecureChannelCredentials.create())
            .defaultServiceConfig(ServiceConfigs.published())
            .disableServiceConfigLookUp()
            .build();
    try {
      IdentityServiceGrpc.newBlockingStub(channel)
          .withDeadlineAfter(30, TimeUnit.SECONDS)
          .getSession(GetSessionRequest.getDefaultInstance());
      return Status.Code.OK;
    } catch (StatusRuntimeException error) {
      return error.getStatus().getCode();
    } finally {
      channel.shutdownNow().awaitTermination(30, TimeUnit.SECONDS);
    }
  }

  @Test
  void cannotBeChanged() {
    assertThrows(
        UnsupportedOperationException.class,
        () -> ServiceConfigs.published().remove("methodConfig"));
  }

  private static Stream<ServiceDescriptor> services() {
    return SERVICES.stream().flatMap(file -> file.getServices().stream());
  }

  @SuppressWarnings("unchecked")
  private static List<Map<?, ?>> methodConfigs() {
    return (List<Map<?, ?>>) ServiceConfigs.published().get("methodConfig");
  }

  private static final class Sessions extends IdentityServiceGrpc.IdentityServiceImplBase {
    final AtomicInteger asked = new AtomicInteger();
    private final int refused;
    private final Status refusal;

    Sessions(int refused, Status refusal) {
      this.refused = refused;
      this.refusal = refusal;
    }

    @Override
    public void getSession(GetSessionRequest request, StreamObserver<GetSessionResponse> answers) {
      if (asked.incrementAndGet() <= refused) {
        answers.onError(refusal.asRuntimeException());
        return;
      }
      answers.onNext(GetSessionResponse.getDefaultInstance());
      answers.onCompleted();
    }
  }
}
