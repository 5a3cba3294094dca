# From a checkout: `brew tap local/specd .` clones it as a tap, and this formula builds that clone.
class Specd < Formula
  desc "Keeps speculative decoding in LM Studio applied, proven and measured"
  homepage "https://lmstudio.ai/docs/app/advanced/speculative-decoding"
  license "MIT"
  head "file://#{Pathname(__dir__).parent}", using: :git, branch: "main"

  depends_on "python@3.13"

  # The wheels of mlx come with libraries that must stay as they are.
  preserve_rpath

  def install
    system formula_python, "-m", "venv", libexec
    system libexec/"bin/python", "-m", "pip", "install", "--quiet", buildpath
    bin.install_symlink libexec/"bin/specd"
    generate_completions_from_executable(bin/"specd", "completion", shells: [:bash, :zsh, :fish])
    (man1/"specd.1").write Utils.safe_popen_read(bin/"specd", "man")
  end

  def formula_python
    Formula["python@3.13"].opt_bin/"python3.13"
  end

  def caveats
    <<~TEXT
      To start specd at login, once, and again after an upgrade:
        specd install
      Before `brew uninstall specd`:
        specd uninstall --restore-settings
    TEXT
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/specd --version") unless head?
    assert_match "local.specd", shell_output("#{bin}/specd install --print --platform macos")
  end
end
