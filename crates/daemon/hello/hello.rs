//! The program of the image that ships inside Corten. It tells what just happened and what to try next.
//!
//! Compiled by `build.rs` into a static executable: it is the only file of its image.

fn main() {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    println!(
        "\
Hello from Corten. This text comes from inside a container.

What just happened:
  1. corten asked cortend to run the image corten/hello; it started cortend first if none was running.
  2. cortend unpacked the image, made a network namespace with an address, and spawned a small shim.
  3. The shim cloned this program into namespaces of its own. Here it is process {}, on host {},
     and the only file in sight is /hello.
  4. The shim wrote these lines to the container's log and to your terminal, and will record how it ended.

What to try next:
  corten ps -a                          the container you just ran (unless you gave --rm)
  sh scripts/images.sh busybox          makes a small image from Debian's busybox-static
  corten run -it --rm busybox           a shell in a container; ctrl-P ctrl-Q leaves it running
  corten run -d -p 8080:80 --name web busybox httpd -f -h /etc
  corten --help                         everything else",
        std::process::id(),
        host.trim()
    );
}
