/**
 * The story of ../README.md in TypeScript: the generated package, Connect for Node.
 *
 *     WM_SERVER=host:port WM_TOKEN=... WM_OTHER_TOKEN=... WM_CA=ca.pem node dist/story.js
 */
import { createHash, randomUUID } from "node:crypto";
import type { DescEnum } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { Permission, PermissionPreset, PermissionSchema } from "@workspace-management/client/common/v1";
import { BadRequestSchema, ErrorInfoSchema } from "@workspace-management/client/google/rpc";
import { AccountService, IdentityService, TeamService } from "@workspace-management/client/identity/v1";
import {
  type Document,
  DocumentService,
  GrantService,
  GrantTargetType,
  HistoryService,
  PermissionService,
  ProjectService,
  type WatchEventsResponse,
} from "@workspace-management/client/project/v1";
import { FileStatusSchema, StorageService } from "@workspace-management/client/storage/v1";
import { readCa, Server, transferred } from "./client.js";

const STREAM_MS = 30_000;
const FILES = new Map([
  ["beams.txt", "12 m of steel"],
  ["drawing.txt", "see north side"],
  ["ümlaut.txt", "größer"],
]);
const EVENT_TYPES = [
  "document.created",
  "document.file_attached",
  "grant.created",
  "project.assigned",
];

type Person = ReturnType<Server["person"]>;

const { WM_SERVER = "", WM_TOKEN = "", WM_OTHER_TOKEN = "", WM_CA = "" } = process.env;
const ca = readCa(WM_CA);
const server = new Server(WM_SERVER, ca);
try {
  await tell(server.person(WM_TOKEN), server.person(WM_OTHER_TOKEN));
} finally {
  server.close();
}

async function tell(alice: Person, bob: Person): Promise<void> {
  const { session } = await alice(IdentityService).getSession({});
  console.log(`session: ${session?.user?.email}`);
  const { projectId, resumeToken } = await makeProject(alice);
  await share(alice, bob, projectId);
  const documents = await uploadAll(alice, projectId);
  await download(alice, documents.get("beams.txt"));
  await listDocuments(alice, projectId);
  await refusals(alice, bob, projectId, documents.get("drawing.txt"));
  await repeat(alice, projectId);
  await watch(alice, projectId, resumeToken);
  const deleted = await alice(ProjectService).deleteProject({ projectId, requestId: randomUUID() });
  console.log(`deleted: ${deleted.project?.name}`);
}

/** An account, a team, a project; its id, and a token of the events from here on. */
async function makeProject(alice: Person) {
  const { account } = await alice(AccountService).createAccount({
    name: "Bridge Works",
    type: "client_org",
    requestId: randomUUID(),
  });
  console.log(`account: ${account?.name} (${account?.type})`);
  const accountId = account?.accountId ?? "";
  const { team } = await alice(TeamService).createTeam({
    home: { case: "accountId", value: accountId },
    name: "Structures",
    requestId: randomUUID(),
  });
  console.log(`team: ${team?.name}`);
  const { project } = await alice(ProjectService).createProject({
    name: "North bridge",
    accountId,
    requestId: randomUUID(),
  });
  const projectId = project?.projectId ?? "";
  const resumeToken = await firstToken(alice, projectId);
  const { project: assigned } = await alice(ProjectService).assignProject({
    projectId,
    target: { case: "teamId", value: team?.teamId ?? "" },
    requestId: randomUUID(),
  });
  const inTeam = assigned?.teamId === team?.teamId;
  console.log(`project: ${assigned?.name}, assigned to the team: ${yes(inTeam)}`);
  return { projectId, resumeToken };
}

/** The first message of a stream comes at once, with a token of now. */
async function firstToken(alice: Person, projectId: string): Promise<string> {
  let token = "";
  await watchUntil(alice, projectId, "", (message) => {
    token = message.resumeToken;
    return true;
  });
  return token;
}

/** Alice lets Bob look; Bob asks what he may do, as fresh as the grant. */
async function share(alice: Person, bob: Person, projectId: string): Promise<void> {
  const { session } = await bob(IdentityService).getSession({});
  const given = await alice(GrantService).createGrant({
    projectId,
    targetType: GrantTargetType.USER,
    targetId: session?.user?.userId ?? "",
    preset: PermissionPreset.VIEWER,
    requestId: randomUUID(),
  });
  const rights = given.grant?.permissions ?? [];
  console.log(`grant: ${rights.map((right) => nameOf(PermissionSchema, right)).join(", ")}`);
  const value = { tokens: [given.consistencyToken] };
  for (const permission of [Permission.VIEW, Permission.WRITE]) {
    const { allowed } = await bob(PermissionService).checkPermission({
      projectId,
      permission,
      consistency: { requirement: { case: "atLeastAsFresh", value } },
    });
    console.log(`check: ${nameOf(PermissionSchema, permission)} ${yes(allowed)}`);
  }
}

/** The id of the document of every file. */
async function uploadAll(alice: Person, projectId: string): Promise<Map<string, string>> {
  const ids = new Map<string, string>();
  for (const [name, text] of FILES) {
    const made = { projectId, name, requestId: randomUUID() };
    const { document } = await alice(DocumentService).createDocument(made);
    ids.set(name, document?.documentId ?? "");
    await upload(alice, document?.documentId ?? "", name, Buffer.from(text, "utf8"));
  }
  return ids;
}

async function upload(alice: Person, documentId: string, filename: string, data: Buffer) {
  const { transfer, upload } = await alice(StorageService).createUpload({
    documentId,
    filename,
    contentType: "text/plain",
    sizeBytes: BigInt(data.length),
    sha256: sha256(data),
    requestId: randomUUID(),
  });
  if (!transfer || !upload) throw new Error("an upload without a transfer");
  await transferred(transfer, ca, data);
  const { uploadId } = upload;
  const { file } = await alice(StorageService).completeUpload({ uploadId, requestId: randomUUID() });
  if (!file) throw new Error("a complete upload without a file");
  const status = nameOf(FileStatusSchema, file.status);
  console.log(`upload: ${filename}, ${file.sizeBytes} bytes, ${status}`);
}

async function download(alice: Person, documentId = ""): Promise<void> {
  const signed = await alice(StorageService).createDownload({ documentId });
  if (!signed.transfer) throw new Error("a download without a transfer");
  const data = await transferred(signed.transfer, ca);
  const same = yes(sha256(data) === signed.sha256);
  console.log(`download: ${signed.filename}, ${data.toString("utf8")}, same SHA-256: ${same}`);
}

/** Pages of two until there is no token; the order is the server's. */
async function listDocuments(alice: Person, projectId: string): Promise<void> {
  const names: string[] = [];
  let pageToken = "";
  do {
    const page = await alice(DocumentService).listDocuments({ projectId, pageSize: 2, pageToken });
    console.log(`page: ${page.documents.length}`);
    names.push(...page.documents.map((document) => document.name));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  console.log(`documents: ${names.sort().join(", ")}`);
}

/** What an error says to a program: code, reason, field. */
async function refusals(alice: Person, bob: Person, projectId: string, documentId = "") {
  const { document: read } = await alice(DocumentService).getDocument({ documentId });
  if (!read) throw new Error("an answer without a document");
  const { document } = await alice(DocumentService).updateDocument(titled(read, "Plan"));
  console.log(`title: ${document?.title}`);
  const stale = alice(DocumentService).updateDocument(titled(read, "Stale"));
  console.log(`stale etag: ${await refusal(stale)}`);
  const nameless = alice(DocumentService).createDocument({ projectId, requestId: randomUUID() });
  console.log(`bad field: ${await refusal(nameless)}`);
  const bobs = bob(DocumentService).updateDocument(titled({ ...read, etag: "" }, "Bob"));
  console.log(`Bob writes: ${await refusal(bobs)}`);
}

/** A new title for exactly the version that was read. */
function titled({ documentId, etag }: Document, title: string) {
  return {
    document: { documentId, etag, title },
    updateMask: { paths: ["title"] },
    requestId: randomUUID(),
  };
}

/** Code, reason of ErrorInfo and fields of BadRequest of a call that must fail. */
async function refusal(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "not refused";
  } catch (reason) {
    const error = ConnectError.from(reason);
    const reasons = error.findDetails(ErrorInfoSchema).map((info) => info.reason);
    const bad = error.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations);
    return [codeName(error.code), ...reasons, ...bad.map(({ field }) => field)].join(" ");
  }
}

/** The same requestId twice: one document. */
async function repeat(alice: Person, projectId: string): Promise<void> {
  const asked = { projectId, name: "once.txt", requestId: randomUUID() };
  const { document: first } = await alice(DocumentService).createDocument(asked);
  const { document: second } = await alice(DocumentService).createDocument(asked);
  console.log(`repeated: same document: ${yes(first?.documentId === second?.documentId)}`);
}

/** What happened since the token, until every type was seen. */
async function watch(alice: Person, projectId: string, resumeToken: string): Promise<void> {
  const seen = new Set<string>();
  const ended = await watchUntil(alice, projectId, resumeToken, ({ checkpoint, event }) => {
    if (!checkpoint && event) seen.add(event.type);
    return seen.size === EVENT_TYPES.length;
  });
  console.log(`events: ${[...seen].sort().join(", ")}`);
  console.log(`stream: ${codeName(ended)}`);
}

/** Reads events until there are enough, then cancels; the code with which the stream ends. */
async function watchUntil(
  alice: Person,
  projectId: string,
  resumeToken: string,
  enough: (message: WatchEventsResponse) => boolean,
): Promise<Code> {
  const cancel = new AbortController();
  const asked = { projectIds: [projectId], eventTypes: EVENT_TYPES, resumeToken };
  const options = { signal: cancel.signal, timeoutMs: STREAM_MS };
  try {
    for await (const message of alice(HistoryService).watchEvents(asked, options)) {
      if (enough(message)) cancel.abort(); // no `break`: the deadline would go on running
    }
  } catch (reason) {
    if (cancel.signal.aborted) return ConnectError.from(reason).code;
    throw reason;
  }
  throw new Error("the stream ended by itself");
}

function sha256(data: Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}

/** The name of an enum's value in the contract. */
function nameOf(schema: DescEnum, number: number): string {
  return schema.value[number]?.name ?? String(number);
}

/** The name of a code in gRPC: `Code.NotFound` is `NOT_FOUND`. */
function codeName(code: Code): string {
  if (code === Code.Canceled) return "CANCELLED";
  return Code[code].replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
}

function yes(value: boolean): string {
  return value ? "yes" : "no";
}
