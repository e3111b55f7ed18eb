"""Who answers for them."""

from zipline import Team

team = Team(owner="nobody", contact="nobody@example.com")
