//! `grapevine init`: founds a new Grapevine on this machine, with a first registry if one is named.

use std::path::{Path, PathBuf};

use grapevine_model::{Name, RegistryName, Request, Secret, ServerName, Speaker};

use crate::ask;
use crate::folder::{Beginning, CONFIG_FILE};
use crate::new_server::{NewServer, Places};
use crate::out::{Failure, say};
use crate::password_cost::Cost;
use crate::passwords;
use crate::running::Running;
use crate::up::DEFAULT_DIR;

/// Found a new Grapevine on this machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server's name: one word, like `s1`.
    #[arg(long, value_name = "NAME", default_value = "s1")]
    name: ServerName,
    /// Its data folder.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    places: PlaceArgs,
    /// A first registry, like `pa.example`.
    #[arg(long, value_name = "REGISTRY")]
    registry: Option<RegistryName>,
    /// Who administers it, and this Grapevine.
    #[arg(long, value_name = "NAME", requires = "registry")]
    registrar: Option<String>,
    /// The registrar's password, in a file's first line.
    #[arg(long, value_name = "FILE", requires = "registry")]
    password_file: Option<PathBuf>,
}

/// Where a new server is reached.
#[derive(Debug, clap::Args)]
pub(crate) struct PlaceArgs {
    /// The name by which other machines reach this one.
    #[arg(long, value_name = "HOST")]
    hostname: Option<String>,
    /// Ports that follow one another from this one, instead of the standard ones.
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
    /// The address that the doors bind to.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "0.0.0.0",
        requires = "base_port"
    )]
    bind: String,
}

impl PlaceArgs {
    /// The places meant.
    pub(crate) fn places(&self) -> Places {
        match self.base_port {
            Some(base) => Places::from_base(self.hostname.clone(), self.bind.clone(), base),
            None => Places::public(self.hostname.clone()),
        }
    }
}

/// The folder given, or asked for.
pub(crate) fn folder(given: Option<PathBuf>, name: &ServerName) -> Result<PathBuf, Failure> {
    match given {
        Some(dir) => Ok(dir),
        None => {
            let default = Path::new(DEFAULT_DIR).join(name.as_str());
            let text = default.display().to_string();
            ask::line("Where shall the server keep its data?", &text).map(PathBuf::from)
        }
    }
}

/// Founds it.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let dir = folder(args.dir, &args.name)?;
    let first = match args.registry {
        Some(registry) => Some(First::given(
            registry,
            args.registrar.as_deref(),
            args.password_file.as_deref(),
        )?),
        None => None,
    };
    let owners = first.iter().map(|first| first.registrar.clone()).collect();
    let server = NewServer::prepare(args.name.clone(), &dir, &args.places.places())?;
    server.begin(&Beginning::Found { owners })?;
    if let Some(first) = &first {
        first.create(&server).await?;
        say(format_args!(
            "Registry {} is there, administered by {}.",
            first.registry, first.registrar
        ));
    }
    say(format_args!(
        "Server {name} is in {dir}.\n\
         Run it:                    grapevine serve --config {config}\n\
         Let another machine in:    grapevine token --dir {dir}, and there: grapevine join TOKEN --name s2",
        name = args.name,
        dir = dir.display(),
        config = dir.join(CONFIG_FILE).display(),
    ));
    Ok(())
}

/// The first registry.
struct First {
    registry: RegistryName,
    registrar: Name,
    hash: Secret,
}

impl First {
    fn given(
        registry: RegistryName,
        registrar: Option<&str>,
        password_file: Option<&Path>,
    ) -> Result<Self, Failure> {
        let simple = registrar.unwrap_or("registrar");
        let registrar = match simple.contains('@') {
            true => simple.parse(),
            false => Name::new(simple, registry.clone()),
        }
        .map_err(|error| Failure::usage(format_args!("--registrar {simple}: {error}")))?;
        let password = ask::new_password(password_file, &registrar.to_string())?;
        let hash = passwords::hash(Cost::STANDARD, &password)?;
        Ok(Self {
            registry,
            registrar,
            hash,
        })
    }

    /// Runs the server without its doors for as long as it takes.
    async fn create(&self, server: &NewServer) -> Result<(), Failure> {
        let running = Running::start(&server.config, crate::running::Claim::None)
            .await
            .map_err(Failure::new)?;
        let requests = [
            Request::RegistryCreate {
                registry: self.registry.clone(),
                holders: Vec::new(),
                registrars: vec![self.registrar.clone()],
            },
            Request::IndividualCreate {
                name: self.registrar.clone(),
                password: Some(self.hash.clone()),
                sites: Vec::new(),
            },
        ];
        let mut outcome = Ok(());
        for request in requests {
            if let Err(refusal) = running.core.request(Speaker::Operator, request).await {
                outcome = Err(Failure::new(format_args!(
                    "the server was made, but not its registry {}: {refusal}; run the server, and then `grapevine registry create`",
                    self.registry
                )));
                break;
            }
        }
        running.stop().await;
        outcome
    }
}
