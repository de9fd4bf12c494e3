//! Prints the `CustomResourceDefinition`: `cargo run -p sentei-api --example crdgen > crds/compressedmodels.yaml`.

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    print!("{}", sentei_api::crd_yaml()?);
    Ok(())
}
