//! A store that goes back: a standby that was behind is promoted, or a backup is restored.

use super::executor::Random;
use super::world::World;

/// Something happens to the store, or to what may become the store.
pub(super) fn inject(world: &World, random: &mut Random) {
    let mut standby = world.standby.lock();
    match standby.take() {
        None => {
            world.checker.log(|| "a standby stops following the store".to_owned());
            *standby = Some(world.store.snapshot());
        }
        Some(snapshot) => {
            let is_promoted = random.below(3) > 0;
            world.checker.log(|| format!("the store goes back, promoted: {is_promoted}"));
            world.checker.goes_back(world.store.timeline(), is_promoted);
            if is_promoted {
                world.store.promote(&snapshot);
            } else {
                world.store.restore(&snapshot);
            }
        }
    }
}
