//! Steps that belong to no subscription, made ready to run.

use std::sync::Arc;

use super::{Catalog, Result};
use crate::model::{ApplicationId, Pipeline, PipelineId, Step};

impl Catalog {
    /// A pipeline of these steps as their plugins are now, loaded. It has no number of its own:
    /// no delivery names it. `checked` refuses configs that do not satisfy their plugin's schema.
    pub async fn ready_steps(
        &self,
        application: ApplicationId,
        steps: &[Step],
        checked: bool,
    ) -> Result<Arc<Pipeline>> {
        let steps = steps.iter().enumerate();
        let steps: Vec<_> = steps
            .map(|(index, step)| self.resolve_step(application, index, step, None, checked))
            .collect::<Result<_>>()?;
        for step in &steps {
            self.ensure_loaded(step.sha256).await?;
        }
        Ok(Arc::new(Pipeline { id: PipelineId(-1), steps, contract: None }))
    }
}
