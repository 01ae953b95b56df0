//! Watches the migrations: `sqlx::migrate!` notices one that changed, but not one that is new. The code for proto/ is checked in
//! (api/src/generated).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=migrations");
}
