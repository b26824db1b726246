package admin

import (
	"bytes"
	_ "embed" // the document
	"net/http"
)

// openAPI describes the API under /api/v1. TestOpenAPI holds it to what is routed and
// answered.
//
//go:embed openapi.json
var openAPI []byte

// getOpenAPI answers with the document, which tells where the API is.
func (s *Server) getOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(bytes.Replace(openAPI, []byte(`"/api/v1"`), []byte(`"`+s.opts.BasePath+`/api/v1"`), 1))
	return nil
}
