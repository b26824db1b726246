package routes

// Problem is one mistake in a routes file, or one warning about it.
type Problem struct {
	Pos        Position
	Path       string // as in the file, with the route's name: routes[2] "billing": retry.max_attempts
	Code       string // stable, listed in docs/routes.md
	Message    string // the rule in the positive, the value quoted
	Suggestion string // what to write instead; may be empty
	Source     string // the line as it stands in the file
}
