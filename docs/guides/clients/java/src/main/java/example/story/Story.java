package example.story;

import com.google.protobuf.Any;
import com.google.protobuf.FieldMask;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import example.workspace.client.ServiceConfigs;
import example.workspace.common.v1.Consistency;
import example.workspace.common.v1.Permission;
import example.workspace.common.v1.PermissionPreset;
import example.workspace.identity.v1.Account;
import example.workspace.identity.v1.CreateAccountRequest;
import example.workspace.identity.v1.CreateTeamRequest;
import example.workspace.identity.v1.GetSessionRequest;
import example.workspace.identity.v1.Team;
import example.workspace.identity.v1.User;
import example.workspace.project.v1.AssignProjectRequest;
import example.workspace.project.v1.CheckPermissionRequest;
import example.workspace.project.v1.CreateDocumentRequest;
import example.workspace.project.v1.CreateGrantRequest;
import example.workspace.project.v1.CreateGrantResponse;
import example.workspace.project.v1.CreateProjectRequest;
import example.workspace.project.v1.DeleteProjectRequest;
import example.workspace.project.v1.Document;
import example.workspace.project.v1.GetDocumentRequest;
import example.workspace.project.v1.GrantTargetType;
import example.workspace.project.v1.ListDocumentsRequest;
import example.workspace.project.v1.ListDocumentsResponse;
import example.workspace.project.v1.Project;
import example.workspace.project.v1.UpdateDocumentRequest;
import example.workspace.project.v1.WatchEventsRequest;
import example.workspace.project.v1.WatchEventsResponse;
import example.workspace.storage.v1.CompleteUploadRequest;
import example.workspace.storage.v1.CreateDownloadRequest;
import example.workspace.storage.v1.CreateDownloadResponse;
import example.workspace.storage.v1.CreateUploadRequest;
import example.workspace.storage.v1.CreateUploadResponse;
import example.workspace.storage.v1.FileSummary;
import io.grpc.ChannelCredentials;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.protobuf.StatusProto;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/**
 * The story of ../README.md in Java: the generated stubs, gRPC and java.net.http.
 *
 * <p>{@code WM_SERVER=host:port WM_TOKEN=... WM_OTHER_TOKEN=... WM_CA=ca.pem java -jar story.jar}
 */
public final class Story {
  private static final Map<String, String> FILES = new LinkedHashMap<>();

  static {
    FILES.put("beams.txt", "12 m of steel");
    FILES.put("drawing.txt", "see north side");
    FILES.put("ümlaut.txt", "größer");
  }

  private static final List<String> EVENT_TYPES =
      List.of(
          "document.created", "document.file_attached", "grant.created", "project.assigned");

  private final Person alice;
  private final Person bob;
  private final Objects objects;

  /** UTF-8, whatever the terminal of this machine says. */
  private final PrintStream out =
      new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);

  private Story(Person alice, Person bob, Objects objects) {
    this.alice = alice;
    this.bob = bob;
    this.objects = objects;
  }

  public static void main(String[] arguments) throws Exception {
    String ca = System.getenv().getOrDefault("WM_CA", "");
    ManagedChannel channel = openChannel(System.getenv("WM_SERVER"), ca);
    try {
      Person alice = new Person(channel, System.getenv("WM_TOKEN"));
      Person bob = new Person(channel, System.getenv("WM_OTHER_TOKEN"));
      new Story(alice, bob, new Objects(ca)).tell();
    } finally {
      channel.shutdownNow().awaitTermination(10, TimeUnit.SECONDS);
    }
  }

  /** TLS with the given CA; without one plain text, which only this machine may use. */
  private static ManagedChannel openChannel(String server, String ca) throws IOException {
    ChannelCredentials credentials =
        ca.isEmpty()
            ? InsecureChannelCredentials.create()
            : TlsChannelCredentials.newBuilder().trustManager(new File(ca)).build();
    return Grpc.newChannelBuilder(server, credentials)
        .defaultServiceConfig(ServiceConfigs.published())
        .build();
  }

  private void tell() throws Exception {
    out.println("session: " + user(alice).getEmail());
    Account account = makeAccount();
    Team team = makeTeam(account);
    Project project = makeProject(account);
    String projectId = project.getProjectId();
    String resumeToken = startOfEvents(projectId);
    assign(project, team);
    share(projectId);
    Map<String, String> documentIds = uploadAll(projectId);
    download(documentIds.get("beams.txt"));
    listDocuments(projectId);
    refusals(projectId, documentIds.get("drawing.txt"));
    repeat(projectId);
    watch(projectId, resumeToken);
    delete(projectId);
  }

  private static User user(Person person) {
    GetSessionRequest request = GetSessionRequest.getDefaultInstance();
    return person.identity().getSession(request).getSession().getUser();
  }

  private Account makeAccount() {
    Account account =
        alice
            .accounts()
            .createAccount(
                CreateAccountRequest.newBuilder()
                    .setName("Bridge Works")
                    .setType("client_org")
                    .setRequestId(requestId())
                    .build())
            .getAccount();
    out.printf("account: %s (%s)%n", account.getName(), account.getType());
    return account;
  }

  private Team makeTeam(Account account) {
    Team team =
        alice
            .teams()
            .createTeam(
                CreateTeamRequest.newBuilder()
                    .setAccountId(account.getAccountId())
                    .setName("Structures")
                    .setRequestId(requestId())
                    .build())
            .getTeam();
    out.println("team: " + team.getName());
    return team;
  }

  private Project makeProject(Account account) {
    return alice
        .projects()
        .createProject(
            CreateProjectRequest.newBuilder()
                .setName("North bridge")
                .setAccountId(account.getAccountId())
                .setRequestId(requestId())
                .build())
        .getProject();
  }

  private void assign(Project project, Team team) {
    Project assigned =
        alice
            .projects()
            .assignProject(
                AssignProjectRequest.newBuilder()
                    .setProjectId(project.getProjectId())
                    .setTeamId(team.getTeamId())
                    .setRequestId(requestId())
                    .build())
            .getProject();
    String same = yes(assigned.getTeamId().equals(team.getTeamId()));
    out.printf("project: %s, assigned to the team: %s%n", assigned.getName(), same);
  }

  /** Alice lets Bob look; Bob asks what he may do, as fresh as the grant. */
  private void share(String projectId) {
    CreateGrantResponse given =
        alice
            .grants()
            .createGrant(
                CreateGrantRequest.newBuilder()
                    .setProjectId(projectId)
                    .setTargetType(GrantTargetType.GRANT_TARGET_TYPE_USER)
                    .setTargetId(user(bob).getUserId())
                    .setPreset(PermissionPreset.PERMISSION_PRESET_VIEWER)
                    .setRequestId(requestId())
                    .build());
    List<Permission> permissions = given.getGrant().getPermissionsList();
    out.println("grant: " + permissions.stream().map(Enum::name).collect(Collectors.joining(", ")));
    check(projectId, Permission.PERMISSION_VIEW, given.getConsistencyToken());
    check(projectId, Permission.PERMISSION_WRITE, given.getConsistencyToken());
  }

  private void check(String projectId, Permission permission, String consistencyToken) {
    Consistency.AtLeastAsFresh fresh =
        Consistency.AtLeastAsFresh.newBuilder().addTokens(consistencyToken).build();
    boolean allowed =
        bob.permissions()
            .checkPermission(
                CheckPermissionRequest.newBuilder()
                    .setProjectId(projectId)
                    .setPermission(permission)
                    .setConsistency(Consistency.newBuilder().setAtLeastAsFresh(fresh))
                    .build())
            .getAllowed();
    out.printf("check: %s %s%n", permission.name(), yes(allowed));
  }

  /** The id of the document of every file. */
  private Map<String, String> uploadAll(String projectId) throws Exception {
    Map<String, String> ids = new LinkedHashMap<>();
    for (Map.Entry<String, String> file : FILES.entrySet()) {
      CreateDocumentRequest request = named(projectId, file.getKey());
      String id = alice.documents().createDocument(request).getDocument().getDocumentId();
      upload(id, file.getKey(), file.getValue().getBytes(StandardCharsets.UTF_8));
      ids.put(file.getKey(), id);
    }
    return ids;
  }

  private void upload(String documentId, String name, byte[] data) throws Exception {
    CreateUploadResponse announced =
        alice
            .storage()
            .createUpload(
                CreateUploadRequest.newBuilder()
                    .setDocumentId(documentId)
                    .setFilename(name)
                    .setContentType("text/plain")
                    .setSizeBytes(data.length)
                    .setSha256(sha256(data))
                    .setRequestId(requestId())
                    .build());
    objects.send(announced.getTransfer(), data);
    FileSummary file =
        alice
            .storage()
            .completeUpload(
                CompleteUploadRequest.newBuilder()
                    .setUploadId(announced.getUpload().getUploadId())
                    .setRequestId(requestId())
                    .build())
            .getFile();
    out.printf("upload: %s, %d bytes, %s%n", name, file.getSizeBytes(), file.getStatus().name());
  }

  private void download(String documentId) throws Exception {
    CreateDownloadResponse signed =
        alice
            .storage()
            .createDownload(CreateDownloadRequest.newBuilder().setDocumentId(documentId).build());
    byte[] data = objects.fetch(signed.getTransfer());
    String text = new String(data, StandardCharsets.UTF_8);
    String same = yes(sha256(data).equals(signed.getSha256()));
    out.printf("download: %s, %s, same SHA-256: %s%n", signed.getFilename(), text, same);
  }

  /** Pages of two until there is no token; the order is the server's. */
  private void listDocuments(String projectId) {
    List<String> names = new ArrayList<>();
    ListDocumentsRequest.Builder request =
        ListDocumentsRequest.newBuilder().setProjectId(projectId).setPageSize(2);
    do {
      ListDocumentsResponse page = alice.documents().listDocuments(request.build());
      out.println("page: " + page.getDocumentsCount());
      page.getDocumentsList().forEach(document -> names.add(document.getName()));
      request.setPageToken(page.getNextPageToken());
    } while (!request.getPageToken().isEmpty());
    Collections.sort(names);
    out.println("documents: " + String.join(", ", names));
  }

  /** What an error says to a program: code, reason, field. */
  private void refusals(String projectId, String documentId) throws InvalidProtocolBufferException {
    Document read =
        alice
            .documents()
            .getDocument(GetDocumentRequest.newBuilder().setDocumentId(documentId).build())
            .getDocument();
    Document changed = alice.documents().updateDocument(titled(read, "Plan")).getDocument();
    out.println("title: " + changed.getTitle());
    UpdateDocumentRequest stale = titled(read, "Stale");
    out.println("stale etag: " + refusal(() -> alice.documents().updateDocument(stale)));
    CreateDocumentRequest nameless = named(projectId, "");
    out.println("bad field: " + refusal(() -> alice.documents().createDocument(nameless)));
    UpdateDocumentRequest bobs = titled(read.toBuilder().clearEtag().build(), "Bob");
    out.println("Bob writes: " + refusal(() -> bob.documents().updateDocument(bobs)));
  }

  /** A new title for exactly the version that was read. */
  private static UpdateDocumentRequest titled(Document read, String title) {
    return UpdateDocumentRequest.newBuilder()
        .setDocument(
            Document.newBuilder()
                .setDocumentId(read.getDocumentId())
                .setEtag(read.getEtag())
                .setTitle(title))
        .setUpdateMask(FieldMask.newBuilder().addPaths("title"))
        .setRequestId(requestId())
        .build();
  }

  /** Code, reason of ErrorInfo and fields of BadRequest of a call that must fail. */
  private static String refusal(Runnable call) throws InvalidProtocolBufferException {
    try {
      call.run();
    } catch (StatusRuntimeException error) {
      List<String> words = new ArrayList<>(List.of(error.getStatus().getCode().name()));
      for (Any detail : StatusProto.fromThrowable(error).getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          words.add(detail.unpack(ErrorInfo.class).getReason());
        } else if (detail.is(BadRequest.class)) {
          detail
              .unpack(BadRequest.class)
              .getFieldViolationsList()
              .forEach(violation -> words.add(violation.getField()));
        }
      }
      return String.join(" ", words);
    }
    return "not refused";
  }

  /** The same request_id twice: one document. */
  private void repeat(String projectId) {
    CreateDocumentRequest request = named(projectId, "once.txt");
    String first = alice.documents().createDocument(request).getDocument().getDocumentId();
    String second = alice.documents().createDocument(request).getDocument().getDocumentId();
    out.println("repeated: same document: " + yes(first.equals(second)));
  }

  /** A token of the events from here on; the first message comes at once. */
  private String startOfEvents(String projectId) {
    try (Context.CancellableContext stream = Context.current().withCancellation()) {
      return events(stream, watched(projectId).build()).next().getResumeToken();
    }
  }

  /** What happened since the token, until every type was seen; then the stream is cancelled. */
  private void watch(String projectId, String resumeToken) throws Exception {
    Set<String> seen = new TreeSet<>();
    try (Context.CancellableContext stream = Context.current().withCancellation()) {
      WatchEventsRequest request = watched(projectId).setResumeToken(resumeToken).build();
      Iterator<WatchEventsResponse> events = events(stream, request);
      while (!seen.containsAll(EVENT_TYPES)) {
        WatchEventsResponse message = events.next();
        if (!message.getCheckpoint()) {
          seen.add(message.getEvent().getType());
        }
      }
      out.println("events: " + String.join(", ", seen));
      stream.cancel(null);
      out.println("stream: " + refusal(() -> events.forEachRemaining(message -> {})));
    }
  }

  private Iterator<WatchEventsResponse> events(Context stream, WatchEventsRequest request) {
    Context before = stream.attach();
    try {
      return alice.history().watchEvents(request);
    } finally {
      stream.detach(before);
    }
  }

  private static WatchEventsRequest.Builder watched(String projectId) {
    return WatchEventsRequest.newBuilder()
        .addProjectIds(projectId)
        .addAllEventTypes(EVENT_TYPES);
  }

  private void delete(String projectId) {
    DeleteProjectRequest request =
        DeleteProjectRequest.newBuilder()
            .setProjectId(projectId)
            .setRequestId(requestId())
            .build();
    out.println("deleted: " + alice.projects().deleteProject(request).getProject().getName());
  }

  private static CreateDocumentRequest named(String projectId, String name) {
    return CreateDocumentRequest.newBuilder()
        .setProjectId(projectId)
        .setName(name)
        .setRequestId(requestId())
        .build();
  }

  /** Makes a mutating call safe to repeat, and so the retry policy safe to have. */
  private static String requestId() {
    return UUID.randomUUID().toString();
  }

  private static String sha256(byte[] data) throws NoSuchAlgorithmException {
    return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(data));
  }

  private static String yes(boolean value) {
    return value ? "yes" : "no";
  }
}
