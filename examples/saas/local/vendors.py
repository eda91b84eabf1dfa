"""The services that the app buys, on one port: payments and analytics.

Run it from the folder of the example: `python -m local.vendors --port 4100`.
"""

import argparse
import sys
from dataclasses import dataclass, field

import uvicorn
from fastapi import FastAPI, HTTPException, Request

from app.settings import SettingsError, settings
from local.payments import Payments, Weather, payments_app
from scripts.seed import paid_plans


@dataclass
class Analytics:
    """What the analytics service has heard, or that it is down."""

    events: list[dict[str, object]] = field(default_factory=list)
    is_down: bool = False


def vendors_app(payments: Payments, analytics: Analytics) -> FastAPI:
    """Return both vendors as one application."""
    app = FastAPI(openapi_url=None)
    app.mount("/payments", payments_app(payments))

    @app.post("/analytics/events")
    async def take(request: Request) -> dict[str, bool]:
        if analytics.is_down:
            raise HTTPException(503)
        analytics.events.append(await request.json())
        return {"taken": True}

    @app.post("/customers/{customer}/plan")
    async def change_plan(customer: str, plan: str, lost: bool = False) -> dict[str, str]:
        """Play a customer who changes their plan; with `lost`, the webhook gets lost."""
        await payments.change_plan(customer, plan, webhook_arrives=not lost)
        return {"customer": customer, "plan": plan}

    return app


def main() -> None:
    """Serve until Ctrl-C, with the customers of the seed and a little bad weather."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=4100)
    payments = Payments(
        paid_plans(),
        Weather(requests_per_second=50, every_nth_fails=20),
        webhook_url=f"{settings().app_url}/api/webhooks/payments",
    )
    port = parser.parse_args().port
    uvicorn.run(vendors_app(payments, Analytics()), port=port, log_level="warning")


if __name__ == "__main__":
    try:
        main()
    except SettingsError as error:
        sys.exit(f"vendors: {error}")
