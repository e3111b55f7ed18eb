"""Flight operations: punctuality of carriers, airports, routes and aircraft."""

from zipline import Team

team = Team(owner="flight-ops", contact="flight-ops@example.com", alerts=["#flight-ops"])
