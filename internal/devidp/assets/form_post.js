// Sends the authorization response on its way (OAuth 2.0 Form Post Response Mode); the button is for browsers without scripts.
document.getElementById("response").submit();
