//! stub
#![allow(missing_docs)]
use crate::store::Declaration;
use breaker::{Layer, Origin, Thresholds};
use std::collections::BTreeMap;
use std::sync::Arc;
pub struct Catalog {
    revision: u64,
    enabled: bool,
    services: BTreeMap<String, Arc<Thresholds>>,
    defaults: Arc<Thresholds>,
}
impl Catalog {
    pub fn new(
        d: &Declaration,
        revision: u64,
        _api: &BTreeMap<String, Layer>,
    ) -> Result<Self, Vec<breaker::Problem>> {
        let mut services = BTreeMap::new();
        for (s, l) in &d.services {
            services.insert(
                s.clone(),
                Arc::new(
                    breaker::merge(&[(Origin::FileDefaults, &d.defaults), (Origin::FileService, l)])?
                        .thresholds,
                ),
            );
        }
        Ok(Self {
            revision,
            enabled: d.enabled,
            services,
            defaults: Arc::new(breaker::merge(&[(Origin::FileDefaults, &d.defaults)])?.thresholds),
        })
    }
    pub fn thresholds(&self, s: &str) -> Arc<Thresholds> {
        self.services.get(s).cloned().unwrap_or_else(|| self.defaults.clone())
    }
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }
    pub fn names(&self, s: &str) -> bool {
        self.services.contains_key(s)
    }
    pub fn revision(&self) -> u64 {
        self.revision
    }
    pub fn enabled(&self) -> bool {
        self.enabled
    }
}
