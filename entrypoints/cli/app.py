"""The commands, by name; each is in the file of its noun."""

import typer

from entrypoints.cli import (
    articles,
    batches,
    clients,
    database,
    demo,
    deploy,
    doctor,
    explain,
    export,
    limits,
    niches,
    orders,
    profiles,
    prompts,
    proxies,
    reconcile,
    run,
    secret,
    serve,
    simulate,
    tokens,
    trigger,
    verify,
    watch,
)

HELP = """Nightly batches for many clients over paid HTTP APIs, every item accounted for.

\b
Try it:            muster demo
Import and run:    muster clients import clients.csv
                   muster profiles import profiles.csv
                   muster run profiles posts --testing
Articles:          muster articles "solar roofs" "heat pumps" --parallel 2
                   muster articles --from-file keywords.csv --plan
The night:         muster trigger --force
                   muster watch
                   muster verify --repair
Look:              muster batches --since 24h
                   muster show 12
                   muster explain 12
                   muster export 12 -o items.csv
Something amiss:   muster doctor
                   muster reconcile --dry-run
                   muster redrive 12 --kind transient
Limits:            muster limits list
                   muster limits set openai --concurrency 20 --per-minute 600
HTTP API:          muster tokens create --all
                   muster serve --port 8080
On Prefect:        muster deploy
                   prefect deployment run 'nightly/nightly' --param mode=testing

\b
Exit codes: 0 all items closed; 1 items remain open; 2 usage; 3 configuration or connection; 130 interrupted.
"""

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
app.add_typer(clients.app, name="clients")
app.add_typer(profiles.app, name="profiles")
app.add_typer(prompts.app, name="prompts")
app.add_typer(proxies.app, name="proxies")
app.add_typer(niches.app, name="niches")
app.add_typer(limits.app, name="limits")
app.add_typer(secret.app, name="secret")
app.add_typer(tokens.app, name="tokens")
app.add_typer(database.app, name="db")
for command in (
    demo.demo,
    run.run,
    trigger.trigger,
    watch.watch,
    batches.batches,
    batches.show,
    explain.explain,
    export.export,
    orders.pause,
    orders.resume,
    orders.cancel,
    orders.redrive,
    reconcile.reconcile,
    serve.serve,
    deploy.deploy,
    doctor.doctor,
    simulate.simulate,
):
    app.command()(command)
app.command("articles", help=articles.HELP)(articles.articles)
app.command("verify")(verify.verify_)
