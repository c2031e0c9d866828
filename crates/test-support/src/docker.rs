//! PostgreSQL in containers, through testcontainers, where a container engine answers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use testcontainers::bollard::Docker;
use testcontainers::bollard::models::{HostConfig, PortBinding};
use testcontainers::core::client::docker_client_instance;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio::time::{sleep, timeout};

use crate::availability::{Effort, Unavailable, announced};
use crate::leash::Leash;
use crate::postgres::database::{SETTINGS, TestDatabase, USER, loopback_url, wait_until_ready};
use crate::process::{free_port, on_path, tail};

mod image;

/// The image to use, if the starter of this process has already chosen one.
const IMAGE_VARIABLE: &str = "TOKENSEAL_TEST_DOCKER_IMAGE";

const PING_LIMIT: Duration = Duration::from_secs(5);
const PORT: &str = "5432/tcp";

static NEXT_CONTAINER: AtomicU32 = AtomicU32::new(0);

/// A container engine that answers and has a PostgreSQL image.
#[derive(Clone, Debug)]
pub struct Engine {
    version: String,
    image: String,
}

impl Engine {
    /// Looks for the engine and for an image.
    ///
    /// # Errors
    /// No engine answers, or no PostgreSQL image is there and none can be made.
    pub async fn find(effort: Effort) -> Result<Self, Unavailable> {
        let chosen = announced(IMAGE_VARIABLE).transpose()?;
        if on_path("docker").is_none() {
            // It is what removes a container whose test process was killed.
            return Err(Unavailable::new("the program `docker` is not on PATH"));
        }
        let (client, version) = connect().await?;
        let image = match chosen {
            Some(image) => image,
            None => image::find(&client, effort).await?,
        };
        Ok(Self { version, image })
    }

    /// The engine's version, in words.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The PostgreSQL image, with its tag.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// Starts a PostgreSQL server in a container of its own.
    ///
    /// # Errors
    /// The container does not start, or its server does not answer in time.
    pub async fn postgres(&self) -> Result<PostgresContainer, Unavailable> {
        let name = format!(
            "tokenseal-postgres-{}-{}",
            std::process::id(),
            NEXT_CONTAINER.fetch_add(1, Ordering::Relaxed)
        );
        let reaper = Leash::at_end("docker", &["rm", "--force", "--volumes", &name])?;
        let port = free_port()?;
        let container = self.start(&name, port).await?;
        let url = loopback_url(port);
        tokio::select! {
            ready = wait_until_ready(&url, || Ok(())) => ready?,
            log = stopped(&container) => return Err(Unavailable::while_doing("the container stopped at once", log)),
        }
        Ok(PostgresContainer { url, container, _reaper: reaper })
    }

    async fn start(&self, name: &str, port: u16) -> Result<ContainerAsync<GenericImage>, Unavailable> {
        let (repository, tag) = self.image.rsplit_once(':').unwrap_or((&self.image, "latest"));
        let mut command = vec!["postgres".to_owned()];
        for setting in SETTINGS.iter().chain(&["listen_addresses=*"]) {
            command.extend(["-c".to_owned(), (*setting).to_owned()]);
        }
        GenericImage::new(repository, tag)
            .with_container_name(name)
            .with_cmd(command)
            .with_env_var("POSTGRES_USER", USER)
            .with_env_var("POSTGRES_DB", "postgres")
            .with_env_var("POSTGRES_HOST_AUTH_METHOD", "trust")
            .with_host_config_modifier(move |config| publish_on_loopback(config, port))
            .start()
            .await
            .map_err(|error| Unavailable::while_doing("cannot start a container", error))
    }
}

/// A PostgreSQL server in a container, removed when this is dropped or this process ends.
#[derive(Debug)]
pub struct PostgresContainer {
    url: String,
    container: ContainerAsync<GenericImage>,
    _reaper: Leash,
}

impl PostgresContainer {
    /// The address of the database that is there from the start, for a user who may create others.
    pub fn admin_url(&self) -> &str {
        &self.url
    }

    /// Creates a database, named after the hint.
    ///
    /// # Panics
    /// The server refuses.
    pub async fn database(&self, hint: &str) -> TestDatabase {
        TestDatabase::create(&self.url, hint).await
    }

    /// Freezes the server, as an outage does: connections stay open, and nothing answers.
    ///
    /// # Panics
    /// The engine refuses.
    pub async fn pause(&self) {
        self.container.pause().await.expect("the engine pauses its container");
    }

    /// Ends what [`pause`](Self::pause) began.
    ///
    /// # Panics
    /// The engine refuses.
    pub async fn unpause(&self) {
        self.container.unpause().await.expect("the engine unpauses its container");
    }
}

/// The container engine, with an image that is already there.
///
/// # Errors
/// There is no engine, or no image.
pub async fn engine() -> Result<Engine, Unavailable> {
    Engine::find(Effort::UseWhatIsThere).await
}

async fn connect() -> Result<(Docker, String), Unavailable> {
    let client = docker_client_instance()
        .await
        .map_err(|error| Unavailable::while_doing("no container engine is set up", error))?;
    let version = timeout(PING_LIMIT, client.version())
        .await
        .map_err(|_| Unavailable::new("the container engine does not answer"))?
        .map_err(|error| Unavailable::while_doing("no container engine answers", error))?;
    Ok((client, format!("engine {}", version.version.unwrap_or_default())))
}

/// Returns the end of a container's log once it has stopped by itself.
async fn stopped(container: &ContainerAsync<GenericImage>) -> String {
    while container.is_running().await.unwrap_or(false) {
        sleep(Duration::from_millis(200)).await;
    }
    let log = container.stderr_to_vec().await.unwrap_or_default();
    tail(&String::from_utf8_lossy(&log))
}

/// One port on the loopback interface only. Chosen here, since the engine would choose another after a restart.
fn publish_on_loopback(config: &mut HostConfig, port: u16) {
    let binding = PortBinding { host_ip: Some("127.0.0.1".into()), host_port: Some(port.to_string()) };
    config.publish_all_ports = Some(false);
    config.port_bindings = Some([(PORT.to_owned(), Some(vec![binding]))].into());
}
