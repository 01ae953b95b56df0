//! Watches the migrations: `sqlx::migrate!` notices one that changed, but not one that is new. The code for proto/ is generated
//! by api/build.rs.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=migrations");
}
