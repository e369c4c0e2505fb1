# Not tried with Homebrew: checked for syntax only. There is no release yet, so it builds from the main branch:
#
#   brew install --HEAD --formula ./packaging/homebrew/heddled.rb
#
# A release adds `url` and `sha256` of its archive above `head`, and says its commit: an archive knows none
# (ENV["HEDDLE_BUILD_COMMIT"] = "<commit> <day>" before the builds).
class Heddled < Formula
  desc "Decide which coding agent may write which branch of a Git repository"
  homepage "https://github.com/heddled/heddled"
  license any_of: ["MIT", "Apache-2.0"]
  head "https://github.com/heddled/heddled.git", branch: "main"

  depends_on "rust" => :build
  # 2.38 or newer; the one of older systems is not.
  depends_on "git"

  def install
    system "cargo", "install", *std_cargo_args(path: "heddled")
    system "cargo", "install", *std_cargo_args(path: "heddlectl")

    system bin/"heddlectl", "-q", "man", buildpath/"man1"
    man1.install Dir["man1/*.1"], "packaging/man/heddled.1"
    man5.install "packaging/man/heddled.toml.5"
    generate_completions_from_executable(bin/"heddlectl", "completions", shells: [:bash, :zsh, :fish])
  end

  # `brew services start heddled`. Without it heddlectl starts the daemon when it is needed.
  service do
    run opt_bin/"heddled"
    # It ends with 0 when it was told to stop; what it ends with otherwise is worth another try.
    keep_alive successful_exit: false
    log_path var/"log/heddled.log"
    error_log_path var/"log/heddled.log"
  end

  test do
    ENV["HEDDLE_STATE_DIR"] = (testpath/"state").to_s
    ENV["HEDDLE_SOCKET"] = (testpath/"run/heddled.sock").to_s
    (testpath/"run").mkpath
    chmod 0700, testpath/"run"
    assert_match version.to_s, shell_output("#{bin}/heddled --version") unless head?
    system "git", "init", "--quiet", "repo"
    system "git", "-C", "repo", "-c", "user.name=A", "-c", "user.email=a@example.com",
           "commit", "--quiet", "--allow-empty", "--message=Begin"
    assert_equal "held", shell_output(
      "#{bin}/heddlectl --repo repo run --quiet --thread try -- echo held",
    ).strip
    system bin/"heddlectl", "daemon", "stop"
  end
end
