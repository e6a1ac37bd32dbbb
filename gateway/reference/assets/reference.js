// Shows the document in Swagger UI.
const main = document.getElementById("reference");

const elsewhere = document.getElementById("elsewhere");
if (elsewhere?.querySelector("a").origin === location.origin) elsewhere.remove();

// Removes the security schemes that cannot be entered on this page. The session
// cookie is sent with every request anyway, and the provider's metadata is on
// another origin, to which this page may not send requests.
function withoutOtherSchemes(spec) {
  const schemes = spec.components.securitySchemes;
  for (const name of ["openid", "session"]) delete schemes[name];
  for (const item of Object.values(spec.paths)) {
    for (const operation of Object.values(item)) {
      operation.security = operation.security?.filter((requirement) => Object.keys(requirement).every((name) => name in schemes));
    }
  }
  return spec;
}

async function show() {
  const response = await fetch(main.dataset.document);
  if (!response.ok) throw new Error(`${main.dataset.document}: ${response.status}`);
  SwaggerUIBundle({
    spec: withoutOtherSchemes(await response.json()),
    domNode: main,
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    // Swagger UI would keep a token in local storage, where it outlives the tab.
    persistAuthorization: false,
    validatorUrl: null,
    plugins: [
      ({ React }) => ({
        components: {
          // The API is on the origin of this page, and the menu of servers has no
          // name for screen readers.
          ServersContainer: () => null,
          // A link in the button that opens an operation would be a second control
          // in the first. The button sets the same address.
          DeepLink: ({ text }) => React.createElement("span", null, text),
        },
      }),
    ],
    onComplete: () => (main.dataset.ready = ""),
  });
}

show().catch((error) => {
  main.textContent = `The reference cannot be shown: ${error.message}`;
});
