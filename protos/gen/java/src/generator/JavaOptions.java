import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Copies the contract and names its Java packages and files, which the contract itself does not:
 * {@code java JavaOptions.java PROTOS FOLDER}.
 *
 * <p>{@code workspace.identity.v1} becomes {@code example.workspace.identity.v1} (the prefix is a
 * placeholder until the artifact is published), and {@code team_service.proto} becomes {@code
 * TeamServiceProto}. The options are on the line of the package: errors keep their line numbers.
 */
public final class JavaOptions {
  private static final Pattern PACKAGE =
      Pattern.compile("^package (workspace\\.[a-z0-9_.]+);$", Pattern.MULTILINE);

  private JavaOptions() {}

  /** The folder that has {@code workspace/}, and the folder that gets it. */
  public static void main(String[] folders) throws IOException {
    Path protos = Path.of(folders[0]);
    Path copies = Path.of(folders[1]);
    for (Path proto : protosIn(protos.resolve("workspace"))) {
      Path copy = copies.resolve(protos.relativize(proto));
      Files.createDirectories(copy.getParent());
      Files.writeString(copy, withOptions(proto));
    }
  }

  private static List<Path> protosIn(Path folder) throws IOException {
    try (Stream<Path> files = Files.walk(folder)) {
      return files.filter(file -> file.toString().endsWith(".proto")).collect(Collectors.toList());
    }
  }

  private static String withOptions(Path proto) throws IOException {
    Matcher found = PACKAGE.matcher(Files.readString(proto));
    if (!found.find()) {
      throw new IOException(proto + " has no line of its own for its package");
    }
    return found.replaceFirst(
        "package $1;"
            + " option java_package = \"example.$1\";"
            + " option java_multiple_files = true;"
            + String.format(" option java_outer_classname = \"%s\";", className(proto)));
  }

  private static String className(Path proto) {
    String name = proto.getFileName().toString().replace(".proto", "");
    return Arrays.stream(name.split("_"))
        .map(word -> Character.toUpperCase(word.charAt(0)) + word.substring(1))
        .collect(Collectors.joining("", "", "Proto"));
  }
}
