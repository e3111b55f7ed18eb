"""Network data: what is known of weather, airports and aircraft."""

from zipline import Team

team = Team(owner="network-data", contact="network-data@example.com", alerts=["#network-data"])
