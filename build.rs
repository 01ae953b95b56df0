//! Watches the migrations: `sqlx::migrate!` notices one that changed, but not one that is new. The code for proto/ is checked in
//! (api/src/generated). Tells the code which commit it is built from, if the environment of the build says so.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=migrations");
    // Git is not asked: the crate would be compiled anew with every commit.
    println!("cargo::rerun-if-env-changed=BREAKERD_COMMIT");
    let commit = std::env::var("BREAKERD_COMMIT").unwrap_or_default();
    let is_named = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_alphanumeric());
    println!("cargo::rustc-env=BREAKERD_BUILD_COMMIT={}", if is_named { &commit } else { "unknown" });
}
